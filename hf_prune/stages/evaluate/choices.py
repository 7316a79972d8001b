"""Multiple choice: which option a model finds likeliest, computed layer by layer for models of any size.

The model reads each option after its own copy of the prompt, which works for every family.
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
    """The losses of each item's options, and whether the likeliest option is the right one.

    As for `acc` in lm-evaluation-harness, log-probabilities are summed over an option's tokens and not
    divided by its length.
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
    """The loss of each option of each item, in nats, summed over its tokens.

    The sequences of one pass are padded to one length, and each pass reads every layer. So sequences share a
    pass if the shortest has at least half the length of the longest.
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
    # A causal model does not look ahead, so the last token can be repeated up to the common length.
    ids = [
        [*prompt, *option, *option[-1:] * (longest - len(prompt) - len(option))] for prompt, option in asked
    ]
    hidden = run_layers(decoder, decoder.enter(torch.tensor(ids)), islice(layers, decoder.num_layers))
    pending, losses = iter(asked), []
    with decoder.head() as logits_of:
        for batch in hidden:
            part = list(islice(pending, len(batch)))
            states = [
                states[len(prompt) - 1 : len(prompt) - 1 + len(option)]
                for states, (prompt, option) in zip(batch, part, strict=True)
            ]
            wanted = torch.tensor([token for _, option in part for token in option], device=batch.device)
            # At most as many positions as a sequence has: the model may not know more.
            at_once = min(POSITIONS_AT_ONCE, longest)
            found = token_losses(logits_of, torch.cat(states)[None], wanted, at_once)
            losses += [one.sum().item() for one in found.split([len(option) for _, option in part])]
    return losses
