"""The bridge of a cut: of the form that the recipe names, or the best on text that none was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.records import DECODER, Block, Bridge, BridgeAgreement, BridgeTrial, Contest
from hf_prune.records.blocks import all_but
from hf_prune.stages.bridge.forms import FORMS
from hf_prune.stages.bridge.gaps import fit_bridges
from hf_prune.stages.bridge.scale import fit_scale
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.measure.agreement import try_agreements
from hf_prune.stages.texts.windows import Windows

NO_BRIDGE = "none"
SCALE = "scale"


def make_bridge(
    decoder: StreamedDecoder,
    windows: tuple[Windows, Windows],
    blocks: tuple[Block, ...],
    method: str,
    progress: Progress,
) -> tuple[Bridge, dict[str, Tensor]]:
    """Close the gaps of a cut by a bridge of the form `method`, fitted on the first of the two windows.

    For "auto", every form and no bridge at all are tried on the second. The one with the lowest loss is kept,
    or for an encoder the one whose final states are nearest the original's.

    Returns:
        The record, and the new tensors, float32 on the CPU, by their name in the original checkpoint.
    """
    fitted_on, chosen_by = windows
    forms = [form for form in FORMS.values() if method in (form.name, "auto")]
    fitted = fit_bridges(decoder, fitted_on, [(blocks, form) for form in forms], progress) if forms else []
    if method in (SCALE, "auto"):
        fitted.append(fit_scale(decoder, fitted_on, blocks, progress))
    return best_bridge(decoder, chosen_by, blocks, fitted, progress) if method == "auto" else fitted[0]


def best_bridge(
    decoder: StreamedDecoder,
    windows: Windows,
    blocks: tuple[Block, ...],
    fitted: Sequence[tuple[Bridge, dict[str, Tensor]]],
    progress: Progress,
) -> tuple[Bridge, dict[str, Tensor]]:
    """The bridge with the best result on windows that no bridge was fitted on, with the results of all.

    If the cut does better without a bridge, it is a record that says so.
    """
    contenders = [(bridge, solved) for bridge, solved in fitted if solved]
    if not contenders:
        return fitted[0]
    removed = tuple(layer for block in blocks for layer in range(block.start, block.end))
    kept = all_but(removed, decoder.num_layers)
    cuts = [Cut(kept), *(Cut(kept, solved) for _, solved in contenders)]
    names = [NO_BRIDGE, *(bridge.method for bridge, _ in contenders)]
    compare = _by_loss if decoder.skeleton.kind == DECODER else _by_agreement
    contest = compare(decoder, windows, dict(zip(names, cuts, strict=True)), progress)
    best = (contest.trials or contest.agreements)[0].method
    if best == NO_BRIDGE:
        harm = "raised the loss" if contest.trials else "led away from the original's final states"
        tokens = windows.record.num_tokens
        reason = f"every bridge {harm} on {tokens} calibration tokens set aside, so none was kept"
        return Bridge(method=NO_BRIDGE, folded=(), reason=reason, contest=contest), {}
    bridge, solved = next(both for both in contenders if both[0].method == best)
    return replace(bridge, contest=contest), solved


def _by_loss(
    decoder: StreamedDecoder, windows: Windows, cuts: Mapping[str, Cut], progress: Progress
) -> Contest:
    results = try_cuts(decoder, windows, list(cuts.values()), progress, "trying bridges")
    trials = [
        BridgeTrial(method=name, loss=result.loss, divergence=result.divergence)
        for name, result in zip(cuts, results, strict=True)
    ]
    return Contest(text=windows.record, trials=tuple(sorted(trials, key=lambda trial: trial.loss)))


def _by_agreement(
    decoder: StreamedDecoder, windows: Windows, cuts: Mapping[str, Cut], progress: Progress
) -> Contest:
    cosines = try_agreements(decoder, windows, list(cuts.values()), progress, "trying bridges")
    pairs = sorted(zip(cuts, cosines, strict=True), key=lambda pair: -pair[1])
    agreements = tuple(BridgeAgreement(method=name, cosine=cosine) for name, cosine in pairs)
    return Contest(text=windows.record, trials=(), agreements=agreements)
