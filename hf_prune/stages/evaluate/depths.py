"""Perplexity of a model's first layers at several depths, each followed by the model's norm and head."""

from collections.abc import Sequence

from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import StreamedDecoder, run_layers
from hf_prune.records import Perplexity
from hf_prune.stages.cut.checkpoint import depth_name
from hf_prune.stages.evaluate.perplexity import perplexity_from
from hf_prune.stages.texts.windows import Windows


def perplexities_by_depth(
    decoder: StreamedDecoder, windows: Windows, depths: Sequence[int], label: str, progress: Progress
) -> list[Perplexity]:
    """The perplexity at each depth. Each layer runs once."""
    found, hidden = [], decoder.enter(windows.ids)
    for number in progress(range(depths[-1]), f"perplexity, {label}", depths[-1], "layer"):
        hidden = run_layers(decoder, hidden, [number])
        if number + 1 in depths:
            found.append(perplexity_from(decoder, hidden, windows, depth_name(number + 1)))
    return found
