"""Multiple-choice questions from a file, before tokenisation."""

import hashlib
import json
import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import content_of

BEFORE_QUESTION, AFTER_QUESTION = "Question: ", "\nAnswer:"  # as lm-evaluation-harness asks
PROMPTS = ("question", "prompt", "query")  # each item has one of these fields
RIGHT = ("answer", "label", "answerKey")
SEED = 0  # not the run's, so that runs with different seeds are measured on the same items


@dataclass(frozen=True, slots=True)
class Question:
    """One item of a file."""

    prompt: str
    options: tuple[str, ...]
    right: int

    @property
    def question(self) -> str:
        """The prompt without the words around the question."""
        return self.prompt.removeprefix(BEFORE_QUESTION).removesuffix(AFTER_QUESTION)


@dataclass(frozen=True, slots=True)
class Questions:
    """The items of a file."""

    name: str
    questions: tuple[Question, ...]

    @property
    def sha256(self) -> str:
        """Changes when the items do."""
        plain = [(each.prompt, each.options, each.right) for each in self.questions]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def read_questions(path: Path, count: int) -> Questions:
    """Items from a .jsonl file, also .gz, with one object per line.

    An object has a `question`, `prompt` or `query`; `choices`, a list of texts or ARC's `{"text": [...],
    "label": [...]}`; and the right choice as `answer`, `label` or `answerKey`: an index from 0, a letter or a
    label. A `question` is asked as in lm-evaluation-harness, "Question: ..." and on the next line "Answer:".
    A `prompt` or `query` stays as it is.

    From a file with more than `count` items a random sample is taken, always the same.

    Raises:
        UnusableText: the file cannot be read, or a line is not such an object.
    """
    lines = content_of(path, (".jsonl", ".jsonl.gz")).splitlines()
    questions = [_question(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise UnusableText(
            f"{path} holds no items: give a file with an object a line, or leave --choices out"
        )
    sample = sorted(random.Random(SEED).sample(range(len(questions)), min(count, len(questions))))
    return Questions(name=path.name, questions=tuple(questions[number] for number in sample))


def _question(path: Path, number: int, line: str) -> Question:
    where = f"{path}, line {number}"
    try:
        item = json.loads(line)
    except ValueError:
        item = None
    if not isinstance(item, dict):
        raise UnusableText(f"{where}, is not a JSON object")
    field = next((name for name in PROMPTS if _is_text(item.get(name))), None)
    if field is None:
        raise UnusableText(f"{where}: none of {', '.join(PROMPTS)} is a text")
    options, labels = _options(item.get("choices"))
    if len(options) < 2 or not all(map(_is_text, options)):
        raise UnusableText(f"{where}: choices is not a list of two texts or more")
    right = next((item[name] for name in RIGHT if name in item), None)
    index = labels.index(right) if right in labels else right
    index = int(index) if isinstance(index, str) and index.isdecimal() else index
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(options):
        raise UnusableText(
            f"{where}: none of {', '.join(RIGHT)} says which of {len(options)} choices is right"
        )
    prompt = f"{BEFORE_QUESTION}{item[field]}{AFTER_QUESTION}" if field == "question" else item[field]
    return Question(prompt=prompt, options=tuple(options), right=index)


def _options(choices: Any) -> tuple[list[Any], list[Any]]:
    texts = choices.get("text") if isinstance(choices, dict) else choices
    labels = choices.get("label") if isinstance(choices, dict) else list(string.ascii_uppercase)
    return (texts if isinstance(texts, list) else []), (labels if isinstance(labels, list) else [])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
