"""Perplexity on held-out text, layer by layer, so that any model that can be cut can be measured."""

import math
import statistics

import torch
from torch import Tensor
from torch.nn import functional

from hf_prune.activations import Activations
from hf_prune.calibration import Windows
from hf_prune.decoder import POSITIONS_AT_ONCE, StreamedDecoder, run_layers
from hf_prune.progress import Progress
from hf_prune.records import Perplexity


def perplexity(decoder: StreamedDecoder, windows: Windows, variant: str, progress: Progress) -> Perplexity:
    """The mean loss of predicting every token but the first of each window, and its exponential.

    Args:
        decoder: the model to measure.
        windows: held-out tokens.
        variant: "dense", "cut" or "bridged".
        progress: shows the layers going by.
    """
    count = decoder.num_layers
    layers = progress(range(count), f"perplexity, {variant}", count, "layer")
    hidden = run_layers(decoder, decoder.enter(windows.ids), layers)
    return of_losses(sequence_losses(decoder, hidden, windows.ids), windows, variant)


def of_losses(losses: list[float], windows: Windows, variant: str) -> Perplexity:
    """The record of a variant from its mean loss on each window, in nats."""
    loss = statistics.fmean(losses)
    spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
    return Perplexity(
        variant=variant,
        perplexity=math.exp(loss),
        loss=loss,
        loss_stderr=spread / math.sqrt(len(losses)),
        num_predictions=windows.ids.shape[0] * (windows.ids.shape[1] - 1),
        text=windows.record,
    )


@torch.no_grad()
def sequence_losses(decoder: StreamedDecoder, hidden: Activations, ids: Tensor) -> list[float]:
    """Mean loss of each sequence in nats, from the hidden states after the last layer."""
    losses = []
    with decoder.head() as logits_of:
        sequences = (sequence for batch in hidden for sequence in batch.split(1))
        for sequence, tokens in zip(sequences, ids, strict=True):
            total = 0.0
            predicting = sequence[:, :-1].split(POSITIONS_AT_ONCE, dim=1)
            wanted = tokens[1:].to(sequence.device).split(POSITIONS_AT_ONCE)
            for states, following in zip(predicting, wanted, strict=True):
                logits = logits_of(states)[0].float()  # (positions, vocabulary)
                total += functional.cross_entropy(logits, following, reduction="sum").item()
            losses.append(total / (len(tokens) - 1))
    return losses
