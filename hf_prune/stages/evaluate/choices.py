"""Which option of several a model finds likeliest, layer by layer, so that any model can be asked.

Each option is read with a copy of the prompt of its own: that is simple, and the same for every family.
"""

from collections.abc import Iterator
from itertools import groupby, islice

import torch

from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import POSITIONS_AT_ONCE, StreamedDecoder, run_layers
from hf_prune.records import Answer
from hf_prune.stages.evaluate.items import Items
from hf_prune.stages.evaluate.perplexity import token_losses

Asked = tuple[tuple[int, ...], tuple[int, ...]]  # a prompt and one of its options


def answer(decoder: StreamedDecoder, items: Items, variant: str, progress: Progress) -> tuple[Answer, ...]:
    """The loss of every option, and whether the likeliest as a whole is the right one.

    That is the `acc` of lm-evaluation-harness: log-probabilities are summed over the tokens of an option,
    not divided by its length.

    Args:
        decoder: the model to measure.
        items: what it is asked.
        variant: "dense", "cut", "bridged" or "healed".
        progress: shows the layers going by.
    """
    summed = iter(_summed_losses(decoder, items, variant, progress))
    answers = []
    for item in items.items:
        losses = [next(summed) for _ in item.options]
        chosen = losses.index(min(losses))
        per_token = (loss / len(option) for loss, option in zip(losses, item.options, strict=True))
        answers.append(Answer(losses=tuple(per_token), is_right=chosen == item.right))
    return tuple(answers)


def _summed_losses(decoder: StreamedDecoder, items: Items, variant: str, progress: Progress) -> list[float]:
    """Of each option of each item, in nats.

    Sequences of a pass have one length, and each pass reads every layer: those that fill at least half of
    the longest one's length go together.
    """
    asked: list[Asked] = [(item.prompt, option) for item in items.items for option in item.options]

    def length(number: int) -> int:
        return sum(map(len, asked[number]))

    by_length = groupby(sorted(range(len(asked)), key=length), lambda number: length(number).bit_length())
    passes = [list(numbers) for _, numbers in by_length]
    steps = len(passes) * decoder.num_layers
    layers = progress(list(range(decoder.num_layers)) * len(passes), f"choices, {variant}", steps, "layer")
    losses = [0.0] * len(asked)
    for numbers in passes:
        of_pass = _losses_of_pass(decoder, [asked[number] for number in numbers], layers)
        for number, loss in zip(numbers, of_pass, strict=True):
            losses[number] = loss
    return losses


@torch.no_grad()
def _losses_of_pass(decoder: StreamedDecoder, asked: list[Asked], layers: Iterator[int]) -> list[float]:
    longest = max(len(prompt) + len(option) for prompt, option in asked)
    # What comes after an option does not reach back to it: repeat its last token to the common length.
    ids = [
        [*prompt, *option, *option[-1:] * (longest - len(prompt) - len(option))] for prompt, option in asked
    ]
    hidden = run_layers(decoder, decoder.enter(torch.tensor(ids)), islice(layers, decoder.num_layers))
    waiting, losses = iter(asked), []
    with decoder.head() as logits_of:
        for batch in hidden:
            part = list(islice(waiting, len(batch)))
            states = [
                states[len(prompt) - 1 : len(prompt) - 1 + len(option)]
                for states, (prompt, option) in zip(batch, part, strict=True)
            ]
            wanted = torch.tensor([token for _, option in part for token in option], device=batch.device)
            # No more positions at once than a sequence of this pass has: the model may know no more.
            at_once = min(POSITIONS_AT_ONCE, longest)
            found = token_losses(logits_of, torch.cat(states)[None], wanted, at_once)
            losses += [one.sum().item() for one in found.split([len(option) for _, option in part])]
    return losses
