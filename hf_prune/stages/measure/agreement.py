"""How near cuts of one model come to its final states: what cuts are judged by where there is no loss."""

import statistics
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import StreamedDecoder, run_layers
from hf_prune.records import Agreement
from hf_prune.stages.measure.ablation import Cut, through_all_layers
from hf_prune.stages.measure.similarity import token_cosines
from hf_prune.stages.measure.standard_error import standard_error
from hf_prune.stages.texts.windows import Windows


@torch.no_grad()
def try_agreements(
    decoder: StreamedDecoder, windows: Windows, cuts: Sequence[Cut], progress: Progress, label: str
) -> list[float]:
    """The mean cosine of each cut's states behind the last layer with the model's own, over all tokens.

    Args:
        decoder: the original.
        windows: what passes through.
        cuts: what to try.
        progress: shows the layers going by.
        label: what this is for.
    """
    branches = through_all_layers(decoder, windows, cuts, progress, label)
    original = next(branch.states for branch in branches if 0 in branch.cuts)
    cosines = [0.0] * (1 + len(cuts))
    for branch in branches:
        agreement = statistics.fmean(_cosines(original, branch.states))
        for cut in branch.cuts:
            cosines[cut] = agreement
    return cosines[1:]


@torch.no_grad()
def agreement(
    original: StreamedDecoder, shorter: StreamedDecoder, windows: Windows, variant: str, progress: Progress
) -> Agreement:
    """The mean cosine of a shorter model's states behind its last layer with the original's.

    Args:
        original: the whole model.
        shorter: what was made of it.
        windows: held-out tokens, or images.
        variant: "cut" or "bridged".
        progress: shows the layers going by.
    """
    wanted = run_layers(original, original.enter(windows.ids), range(original.num_layers))
    count = shorter.num_layers
    layers = progress(range(count), f"agreement, {variant}", count, "layer")
    cosines = list(_cosines(wanted, run_layers(shorter, shorter.enter(windows.ids), layers)))
    return Agreement(
        variant=variant,
        cosine=statistics.fmean(cosines),
        cosine_stderr=standard_error(cosines),
        text=windows.record,
    )


def _cosines(wanted: Activations, reached: Activations) -> Iterator[float]:
    """The mean cosine over the tokens of each sequence; both are batch by batch (batch, length, hidden)."""
    for whole, own in zip(wanted, reached, strict=True):
        for one, other in zip(whole, own, strict=True):
            yield _mean(token_cosines(one, other))


def _mean(values: Tensor) -> float:
    return values.mean(dtype=torch.float64).item()
