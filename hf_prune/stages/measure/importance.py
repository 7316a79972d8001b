"""Importance of layers by loss: what it costs to remove one, several, or each in turn.

Drop-one loss: Kim et al., "Shortened LLaMA" (2402.02834), section 3.1. Greedy removal: Song et al., "SLEB"
(2402.09025), algorithm 1. Shapley values of layers, sampled near the whole model: "Investigating Layer
Importance in Large Language Models" (2409.14381).
"""

import random
from collections.abc import Sequence

from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import StreamedDecoder
from hf_prune.records import LayerScores, RemovalOrder
from hf_prune.records.blocks import all_but
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.texts.windows import Windows

COALITION = 4  # layers are removed one after the other in groups of this size


def drop_one(decoder: StreamedDecoder, windows: Windows, progress: Progress) -> LayerScores:
    """The rise in loss when a single layer is removed, in nats per token, for each layer."""
    count = decoder.num_layers
    models = [all_but((layer,), count) for layer in range(count)]
    return _rises_in_loss("loss", decoder, windows, models, progress)


def expand_one(decoder: StreamedDecoder, windows: Windows, progress: Progress) -> LayerScores:
    """The rise in loss when a single layer is run twice, in nats per token, for each layer.

    The other half of Llama SLayer's probe (2410.02330) of which layers hold knowledge.
    """
    layers = range(decoder.num_layers)
    models = [tuple(sorted((*layers, layer))) for layer in layers]
    return _rises_in_loss("expansion", decoder, windows, models, progress)


def greedy_removal(
    decoder: StreamedDecoder,
    windows: Windows,
    count: int,
    progress: Progress,
    *,
    candidates: Sequence[int],
    width: int | None = None,
    previous: RemovalOrder | None = None,
) -> RemovalOrder:
    """Remove one layer at a time: at each step the one whose removal gives the lowest loss.

    A step tries the first `width` of the candidates that remain, or all of them where it is None. The search
    continues `previous`, a shorter order found in the same way, and ends early when no candidate remains.
    """
    order, losses = (list(previous.layers), list(previous.losses)) if previous else ([], [])
    remaining = [layer for layer in candidates if layer not in order]
    while remaining and len(order) < count:
        tried = remaining[:width]
        models = [all_but((*order, layer), decoder.num_layers) for layer in tried]
        results = _losses(decoder, windows, models, progress)
        loss, best = min(zip(results, tried, strict=True))
        order.append(best)
        losses.append(loss)
        remaining.remove(best)
    return RemovalOrder(layers=tuple(order), losses=tuple(losses), width=width, text=windows.record)


def shapley(
    decoder: StreamedDecoder, windows: Windows, permutations: int, seed: int, progress: Progress
) -> LayerScores:
    """What each layer contributes to the loss, averaged over small groups of removed layers.

    The layers are shuffled `permutations` times and divided into groups of `COALITION`. The layers of a
    group are removed one after the other, and each is charged the rise in loss that its removal brings.
    """
    layers, shuffled = list(range(decoder.num_layers)), random.Random(seed)
    removals: list[tuple[int, ...]] = []
    for _ in range(permutations):
        shuffled.shuffle(layers)
        for first in range(0, len(layers), COALITION):
            group = layers[first : first + COALITION]
            removals += [tuple(group[: size + 1]) for size in range(len(group))]
    models = [all_but(removed, decoder.num_layers) for removed in [(), *removals]]
    losses = _losses(decoder, windows, models, progress)
    contributions = [0.0] * decoder.num_layers
    for number, removed in enumerate(removals, start=1):
        before = losses[number - 1] if len(removed) > 1 else losses[0]
        contributions[removed[-1]] += (losses[number] - before) / permutations
    return LayerScores(criterion="shapley", values=tuple(contributions), text=windows.record)


def _rises_in_loss(
    criterion: str,
    decoder: StreamedDecoder,
    windows: Windows,
    models: Sequence[tuple[int, ...]],
    progress: Progress,
) -> LayerScores:
    whole = tuple(range(decoder.num_layers))
    original, *losses = _losses(decoder, windows, [whole, *models], progress)
    values = tuple(loss - original for loss in losses)
    return LayerScores(criterion=criterion, values=values, text=windows.record)


def _losses(
    decoder: StreamedDecoder, windows: Windows, models: Sequence[tuple[int, ...]], progress: Progress
) -> list[float]:
    """The loss of each model, which is a tuple of layers."""
    label = f"trying {len(models)} cuts"
    return [tried.loss for tried in try_cuts(decoder, windows, list(map(Cut, models)), progress, label)]
