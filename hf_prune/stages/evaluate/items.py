"""Multiple-choice items: out of a file, or made from held-out text, which any model and language has."""

import hashlib
import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import Windows, content_of, start_tokens

PROMPTS = ("question", "prompt", "query")  # fields, of which an item of a file has one
ASKING, ANSWERING = "Question: ", "\nAnswer:"  # around a question, as lm-evaluation-harness asks it
RIGHT = ("answer", "label", "answerKey")
OPTIONS = 4  # of an item made from text: its continuation, and three that are not
STRETCH = 256  # tokens of text that such an item is made from
PASSAGE = 32  # of them that are the prompt
CONTINUATION = 16
SEED = 0  # no run's own: runs with different seeds are to be measured on the same items


@dataclass(frozen=True, slots=True)
class Question:
    """An item as its file has it."""

    prompt: str
    options: tuple[str, ...]
    right: int

    @property
    def asked(self) -> str:
        """The prompt without the words that are put around a question."""
        return self.prompt.removeprefix(ASKING).removesuffix(ANSWERING)


@dataclass(frozen=True, slots=True)
class Questions:
    """The items of a file, before any model's tokenizer has read them."""

    name: str
    questions: tuple[Question, ...]

    @property
    def sha256(self) -> str:
        """Changes when the items do."""
        return _digest(self.questions)


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
        return _digest(self.items)


def _digest(items: Sequence[Question | Item]) -> str:
    plain = [(item.prompt, item.options, item.right) for item in items]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def read_questions(path: Path, count: int) -> Questions:
    """Items from a .jsonl file, also .gz: an object a line.

    It has a `question`, `prompt` or `query`; `choices`, a list of texts or ARC's `{"text": [...], "label":
    [...]}`; and the right one as `answer`, `label` or `answerKey`: an index from 0, a letter or a label.
    A question is asked as lm-evaluation-harness asks it, "Question: ..." and on the next line "Answer:";
    the others as they are.

    Args:
        path: the file.
        count: how many items are wanted; of a longer file so many are drawn, always the same.

    Raises:
        UnusableText: the file cannot be read, or a line is not such an object.
    """
    lines = content_of(path, (".jsonl", ".jsonl.gz")).splitlines()
    questions = [_question(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise UnusableText(
            f"{path} holds no items: give a file with an object a line, or leave --choices out"
        )
    drawn = sorted(random.Random(SEED).sample(range(len(questions)), min(count, len(questions))))
    return Questions(name=path.name, questions=tuple(questions[number] for number in drawn))


def _question(path: Path, number: int, line: str) -> Question:
    place = f"{path}, line {number}"
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnusableText(f"{place}, is not a JSON object")
    field = next((name for name in PROMPTS if _is_text(found.get(name))), None)
    if field is None:
        raise UnusableText(f"{place}: none of {', '.join(PROMPTS)} is a text")
    options, labels = _options(found.get("choices"))
    if len(options) < 2 or not all(map(_is_text, options)):
        raise UnusableText(f"{place}: choices is not a list of two texts or more")
    right = next((found[name] for name in RIGHT if name in found), None)
    index = labels.index(right) if right in labels else right
    index = int(index) if isinstance(index, str) and index.isdecimal() else index
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(options):
        raise UnusableText(
            f"{place}: none of {', '.join(RIGHT)} says which of {len(options)} choices is right"
        )
    prompt = f"{ASKING}{found[field]}{ANSWERING}" if field == "question" else found[field]
    return Question(prompt=prompt, options=tuple(options), right=index)


def _options(choices: Any) -> tuple[list[Any], list[Any]]:
    """The texts of the options, and what the right one may be called."""
    texts = choices.get("text") if isinstance(choices, dict) else choices
    labels = choices.get("label") if isinstance(choices, dict) else list(string.ascii_uppercase)
    return (texts if isinstance(texts, list) else []), (labels if isinstance(labels, list) else [])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def to_items(questions: Questions, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> Items:
    """Questions as tokens: an option's are those by which prompt, space and option outlast the prompt.

    Args:
        questions: of a file.
        tokenizer: the model's own.
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
        room = None if limit is None else limit - max(map(len, options))
        if room is not None and room < 1:
            raise UnusableText(
                f"{questions.name}: the option {max(asked.options, key=len)[:40]!r}... is longer than the "
                f"{limit} tokens that this model reads"
            )
        kept = [*start, *prompt][-room:] if room else [*start, *prompt]
        return Item(tuple(kept), tuple(map(tuple, options)), asked.right)

    return Items(name=questions.name, items=tuple(map(to_item, questions.questions)))


def items_from_text(windows: Windows) -> Items:
    """An item from each window: how does its beginning go on? Wrong options are from later in the window.

    Args:
        windows: held-out tokens, as the model reads them.
    """
    drawn = random.Random(SEED)
    length = windows.ids.shape[1]
    passage, continuation = item_lengths(length)
    starts = range(passage + continuation, length - continuation + 1, continuation)

    def to_item(ids: list[int]) -> Item:
        places = drawn.sample(starts, OPTIONS - 1)
        right = drawn.randrange(OPTIONS)
        places.insert(right, passage)
        options = tuple(tuple(ids[place : place + continuation]) for place in places)
        return Item(tuple(ids[:passage]), options, right)

    return Items(name=windows.record.name, items=tuple(map(to_item, windows.ids.tolist())))


def item_lengths(window: int) -> tuple[int, int]:
    """Tokens of the prompt and of each option that are made from a window, of which all of them fit."""
    return min(PASSAGE, window // 2), min(CONTINUATION, window // 8)
