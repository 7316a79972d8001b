"""Multiple-choice questions out of a file, before any model's tokenizer has read them."""

import hashlib
import json
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import content_of

ASKING, ANSWERING = "Question: ", "\nAnswer:"  # around a question, as lm-evaluation-harness asks it
PROMPTS = ("question", "prompt", "query")  # fields, of which an item of a file has one
RIGHT = ("answer", "label", "answerKey")
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
        plain = [(each.prompt, each.options, each.right) for each in self.questions]
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
