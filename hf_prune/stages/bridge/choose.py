"""Which form of bridge a cut gets: the one asked for, or the best on text that none was fitted on."""

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
    """Close the gaps of a cut.

    Args:
        decoder: the original model.
        windows: calibration tokens to fit on, and others to choose by.
        blocks: that are removed, in order.
        method: the form; "auto": every form is tried beside no bridge, and the one with the lowest loss on
            the windows to choose by is kept, or the one whose final states are nearest the original's.
        progress: shows the layers going by.

    Returns:
        The record, and the new tensors, float32 on the CPU, by their name in the original checkpoint.
    """
    fitted_on, chosen_by = windows
    if method != "auto":
        return _fit(decoder, fitted_on, blocks, (method,), progress)[0]
    fitted = _fit(decoder, fitted_on, blocks, (*FORMS, SCALE), progress)
    return best_bridge(decoder, chosen_by, blocks, fitted, progress)


def _fit(
    decoder: StreamedDecoder,
    windows: Windows,
    blocks: tuple[Block, ...],
    methods: Sequence[str],
    progress: Progress,
) -> list[tuple[Bridge, dict[str, Tensor]]]:
    forms = [FORMS[method] for method in methods if method != SCALE]
    fitted = fit_bridges(decoder, windows, [(blocks, form) for form in forms], progress) if forms else []
    return [*fitted, fit_scale(decoder, windows, blocks, progress)] if SCALE in methods else fitted


def best_bridge(
    decoder: StreamedDecoder,
    windows: Windows,
    blocks: tuple[Block, ...],
    fitted: Sequence[tuple[Bridge, dict[str, Tensor]]],
    progress: Progress,
) -> tuple[Bridge, dict[str, Tensor]]:
    """The bridge with the lowest loss, or none where none lowers it; of an encoder the nearest to it.

    Args:
        decoder: the original model.
        windows: tokens that no bridge was fitted on.
        blocks: that are removed, in order.
        fitted: the bridges to choose from.
        progress: shows the layers going by.

    Returns:
        One of them, with what each came to, or a record that says why none was kept.
    """
    contenders = [(bridge, solved) for bridge, solved in fitted if solved]
    if not contenders:
        return fitted[0]
    removed = tuple(layer for block in blocks for layer in range(block.start, block.end))
    kept = all_but(removed, decoder.num_layers)
    cuts = [Cut(kept), *(Cut(kept, solved) for _, solved in contenders)]
    names = [NO_BRIDGE, *(bridge.method for bridge, _ in contenders)]
    hold = _by_loss if decoder.skeleton.kind == DECODER else _by_agreement
    contest = hold(decoder, windows, dict(zip(names, cuts, strict=True)), progress)
    best = (contest.trials or contest.agreements)[0].method
    if best == NO_BRIDGE:
        worse = "raised the loss" if contest.trials else "led away from the original's final states"
        tokens = windows.record.num_tokens
        reason = f"every bridge {worse} on {tokens} calibration tokens set aside, so none was kept"
        return Bridge(method=NO_BRIDGE, folded=(), reason=reason, contest=contest), {}
    bridge, solved = next(both for both in contenders if both[0].method == best)
    return replace(bridge, contest=contest), solved


def _by_loss(
    decoder: StreamedDecoder, windows: Windows, cuts: Mapping[str, Cut], progress: Progress
) -> Contest:
    tried = try_cuts(decoder, windows, list(cuts.values()), progress, "trying bridges")
    trials = [
        BridgeTrial(method=name, loss=found.loss, divergence=found.divergence)
        for name, found in zip(cuts, tried, strict=True)
    ]
    return Contest(text=windows.record, trials=tuple(sorted(trials, key=lambda trial: trial.loss)))


def _by_agreement(
    decoder: StreamedDecoder, windows: Windows, cuts: Mapping[str, Cut], progress: Progress
) -> Contest:
    cosines = try_agreements(decoder, windows, list(cuts.values()), progress, "trying bridges")
    found = [BridgeAgreement(method=name, cosine=cosine) for name, cosine in zip(cuts, cosines, strict=True)]
    best_first = tuple(sorted(found, key=lambda agreement: -agreement.cosine))
    return Contest(text=windows.record, trials=(), agreements=best_first)
