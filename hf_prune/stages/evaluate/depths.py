"""What the first so many layers of a model are worth, each followed by the model's own norm and head."""

from collections.abc import Sequence

from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import StreamedDecoder, run_layers
from hf_prune.records import Perplexity
from hf_prune.stages.cut.checkpoint import depth_name
from hf_prune.stages.evaluate.perplexity import of_losses, sequence_losses
from hf_prune.stages.texts.windows import Windows


def perplexities_by_depth(
    decoder: StreamedDecoder, windows: Windows, depths: Sequence[int], label: str, progress: Progress
) -> list[Perplexity]:
    """The perplexity of each depth, by layers that are each run once.

    Args:
        decoder: the model.
        windows: held-out tokens.
        depths: how many layers, in rising order.
        label: whose depths they are.
        progress: shows the layers going by.
    """
    found, hidden = [], decoder.enter(windows.ids)
    for number in progress(range(depths[-1]), f"perplexity, {label}", depths[-1], "layer"):
        hidden = run_layers(decoder, hidden, [number])
        if number + 1 in depths:
            losses = sequence_losses(decoder, hidden, windows.ids)
            found.append(of_losses(losses, windows, depth_name(number + 1)))
    return found
