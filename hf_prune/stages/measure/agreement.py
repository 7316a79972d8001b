"""Agreement of cuts with the original's final hidden states, for models that have no loss."""

import statistics
from collections.abc import Iterator, Sequence

import torch

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
    """The mean cosine, over all tokens, of each cut's final hidden states with the original's."""
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
    """The mean cosine of a shorter model's final hidden states with the original's, on held-out windows."""
    expected = run_layers(original, original.enter(windows.ids), range(original.num_layers))
    count = shorter.num_layers
    layers = progress(range(count), f"agreement, {variant}", count, "layer")
    cosines = list(_cosines(expected, run_layers(shorter, shorter.enter(windows.ids), layers)))
    return Agreement(
        variant=variant,
        cosine=statistics.fmean(cosines),
        cosine_stderr=standard_error(cosines),
        text=windows.record,
    )


def _cosines(expected: Activations, reached: Activations) -> Iterator[float]:
    """The mean cosine over the tokens of each sequence. Both come in batches (batch, length, hidden)."""
    for batch, other in zip(expected, reached, strict=True):
        for first, second in zip(batch, other, strict=True):
            yield token_cosines(first, second).mean(dtype=torch.float64).item()
