"""What removing single layers, and more and more of them, costs in loss.

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
    """By how much the loss rises when a single layer is removed, in nats per token, for each layer."""
    losses = _losses(decoder, windows, [(), *((layer,) for layer in range(decoder.num_layers))], progress)
    values = tuple(loss - losses[0] for loss in losses[1:])
    return LayerScores(criterion="loss", values=values, text=windows.record)


def expand_one(decoder: StreamedDecoder, windows: Windows, progress: Progress) -> LayerScores:
    """By how much the loss rises when a single layer is run twice, in nats per token, for each layer.

    The other half of Llama SLayer's probe (2410.02330) of which layers hold what the model knows.
    """
    layers = range(decoder.num_layers)
    everything = [tuple(layers), *(tuple(sorted((*layers, layer))) for layer in layers)]
    losses = _losses_of(decoder, windows, everything, progress)
    values = tuple(loss - losses[0] for loss in losses[1:])
    return LayerScores(criterion="expansion", values=values, text=windows.record)


def greedy_removal(
    decoder: StreamedDecoder,
    windows: Windows,
    count: int,
    progress: Progress,
    *,
    candidates: Sequence[int],
    width: int | None = None,
    begun: RemovalOrder | None = None,
) -> RemovalOrder:
    """Remove one layer at a time: each time the one whose removal leaves the lowest loss.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        count: how many layers to remove; no more go than there are candidates.
        progress: shows the layers going by.
        candidates: the layers that may go, the likeliest first.
        width: how many of them to try at each step; None: all.
        begun: an order made the same way, which is gone on with.
    """
    order, losses = (list(begun.layers), list(begun.losses)) if begun else ([], [])
    left = [layer for layer in candidates if layer not in order]
    while left and len(order) < count:
        tried = left[:width]
        found = _losses(decoder, windows, [(*order, layer) for layer in tried], progress)
        best = min(range(len(tried)), key=lambda place: (found[place], tried[place]))
        order.append(tried[best])
        losses.append(found[best])
        left.remove(tried[best])
    return RemovalOrder(layers=tuple(order), losses=tuple(losses), width=width, text=windows.record)


def shapley(
    decoder: StreamedDecoder, windows: Windows, permutations: int, seed: int, progress: Progress
) -> LayerScores:
    """What each layer contributes to the loss, averaged over small groups of layers that are gone.

    The layers are shuffled and parted into groups of `COALITION`; in each group they are removed one
    after the other, and each is charged the rise in loss that its removal brings.

    Args:
        decoder: the original model.
        windows: calibration tokens.
        permutations: how often the layers are shuffled.
        seed: of the shuffling.
        progress: shows the layers going by.
    """
    layers, shuffled = list(range(decoder.num_layers)), random.Random(seed)
    removals: list[tuple[int, ...]] = []
    for _ in range(permutations):
        shuffled.shuffle(layers)
        for first in range(0, len(layers), COALITION):
            group = layers[first : first + COALITION]
            removals += [tuple(group[: size + 1]) for size in range(len(group))]
    losses = _losses(decoder, windows, [(), *removals], progress)
    contributions = [0.0] * decoder.num_layers
    for number, removed in enumerate(removals, start=1):
        before = losses[number - 1] if len(removed) > 1 else losses[0]
        contributions[removed[-1]] += (losses[number] - before) / permutations
    return LayerScores(criterion="shapley", values=tuple(contributions), text=windows.record)


def _losses(
    decoder: StreamedDecoder, windows: Windows, removals: Sequence[Sequence[int]], progress: Progress
) -> list[float]:
    return _losses_of(decoder, windows, [all_but(gone, decoder.num_layers) for gone in removals], progress)


def _losses_of(
    decoder: StreamedDecoder, windows: Windows, models: Sequence[tuple[int, ...]], progress: Progress
) -> list[float]:
    """The loss of models of some layers each."""
    label = f"trying {len(models)} cuts"
    return [found.loss for found in try_cuts(decoder, windows, list(map(Cut, models)), progress, label)]
