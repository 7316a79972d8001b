"""Perplexity on held-out text, computed layer by layer for models of any size."""

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import POSITIONS_AT_ONCE, StreamedDecoder, run_layers
from hf_prune.records import Perplexity
from hf_prune.stages.measure.standard_error import standard_error
from hf_prune.stages.texts.windows import Windows


def perplexity(
    decoder: StreamedDecoder,
    windows: Windows,
    variant: str,
    progress: Progress,
    layers: Sequence[int] | None = None,
) -> Perplexity:
    """The mean loss of predicting every token but the first of each window, and its exponential.

    Args:
        layers: the only layers to run; None: all.
    """
    layers = range(decoder.num_layers) if layers is None else layers
    shown = progress(layers, f"perplexity, {variant}", len(layers), "layer")
    return perplexity_from(decoder, run_layers(decoder, decoder.enter(windows.ids), shown), windows, variant)


def perplexity_from(
    decoder: StreamedDecoder, hidden: Activations, windows: Windows, variant: str
) -> Perplexity:
    """The perplexity of a variant from the hidden states after its last layer."""
    losses = _sequence_losses(decoder, hidden, windows.ids)
    loss = statistics.fmean(losses)
    return Perplexity(
        variant=variant,
        perplexity=math.exp(loss),
        loss=loss,
        loss_stderr=standard_error(losses),
        num_predictions=windows.ids.shape[0] * (windows.ids.shape[1] - 1),
        text=windows.record,
    )


@torch.no_grad()
def _sequence_losses(decoder: StreamedDecoder, hidden: Activations, ids: Tensor) -> list[float]:
    """Mean loss of each sequence in nats, from the hidden states after the last layer."""
    losses = []
    with decoder.head() as logits_of:
        sequences = (sequence for batch in hidden for sequence in batch.split(1))
        for sequence, tokens in zip(sequences, ids, strict=True):
            following = tokens[1:].to(sequence.device)
            of_tokens = token_losses(logits_of, sequence[:, :-1], following, POSITIONS_AT_ONCE)
            losses.append(of_tokens.mean().item())
    return losses


def token_losses(
    logits_of: Callable[[Tensor], Tensor], states: Tensor, following: Tensor, at_once: int
) -> Tensor:
    """The loss of each token that follows a state, in nats: (positions,), float64.

    Args:
        states: after its last layer, (1, positions, hidden).
        following: ids, (positions,).
        at_once: positions that go through the head in one call.
    """
    losses = [
        functional.cross_entropy(logits_of(part)[0].float(), wanted, reduction="none").double()
        for part, wanted in zip(states.split(at_once, dim=1), following.split(at_once), strict=True)
    ]
    return torch.cat(losses)
