"""Multiple-choice items: from a file, or made from held-out text for any model and language."""

import hashlib
import json
import random
import sys
from dataclasses import astuple, dataclass

from transformers import PreTrainedTokenizerBase

from hf_prune.errors import UnusableText
from hf_prune.stages.original import Original
from hf_prune.stages.texts.questions import SEED, Question, Questions
from hf_prune.stages.texts.text import Text
from hf_prune.stages.texts.windows import Windows, start_tokens, to_windows

OPTIONS = 4  # of an item made from text: its continuation, and three that are not
STRETCH = 256  # tokens of text that such an item is made from
PASSAGE = 32  # of them that are the prompt
CONTINUATION = 16


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and the options that may follow it, as token ids; one is right."""

    prompt: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    right: int


@dataclass(frozen=True, slots=True)
class Items:
    """Items, and where they came from."""

    name: str
    items: tuple[Item, ...]

    @property
    def sha256(self) -> str:
        """Changes when the token ids do."""
        plain = list(map(astuple, self.items))
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def to_items(questions: Questions, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> Items:
    """Questions as tokens: an option's are those by which prompt, space and option outlast the prompt.

    Args:
        limit: tokens that the model reads at most; of a prompt that is too long the end is kept.

    Raises:
        UnusableText: an option alone is too long.
    """
    start = start_tokens(tokenizer)

    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def to_item(asked: Question) -> Item:
        prompt = tokens(asked.prompt)
        # A tokenizer may join the last word with the first of an option: then the option is read alone.
        options = [
            tokens(f"{asked.prompt} {option}")[len(prompt) :] or tokens(f" {option}")
            for option in asked.options
        ]
        room = sys.maxsize if limit is None else limit - max(map(len, options))
        if room < 1:
            raise UnusableText(
                f"{questions.name}: the option {max(asked.options, key=len)[:40]!r}... is longer than the "
                f"{limit} tokens that this model reads"
            )
        return Item(tuple([*start, *prompt][-room:]), tuple(map(tuple, options)), asked.right)

    return Items(name=questions.name, items=tuple(map(to_item, questions.questions)))


def items_from_text(windows: Windows) -> Items:
    """An item from each window: how does its beginning go on? Wrong options are from later in the window."""
    drawn = random.Random(SEED)
    length = windows.ids.shape[1]
    passage, continuation = item_lengths(length)
    starts = range(passage + continuation, length - continuation + 1, continuation)

    def to_item(ids: list[int]) -> Item:
        positions = drawn.sample(starts, OPTIONS - 1)
        right = drawn.randrange(OPTIONS)
        positions.insert(right, passage)
        options = tuple(tuple(ids[position : position + continuation]) for position in positions)
        return Item(tuple(ids[:passage]), options, right)

    return Items(name=windows.record.name, items=tuple(map(to_item, windows.ids.tolist())))


def item_lengths(window: int) -> tuple[int, int]:
    """Tokens of the prompt and of each option that are made from a window, of which all of them fit."""
    return min(PASSAGE, window // 2), min(CONTINUATION, window // 8)


def items_of(original: Original) -> Items:
    """The items that every variant of a model answers: those of the user's file, or of the held-out text."""
    material = original.material
    if material.questions is not None:
        return to_items(material.questions, original.tokenizer, original.max_positions)
    text, length = material.heldout, min(STRETCH, original.window_length)
    assert isinstance(text, Text)  # image encoders answer no items
    count = original.recipe.choice_items
    return items_from_text(to_windows(text, original.tokenizer, num_sequences=count, length=length))
