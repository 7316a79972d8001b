"""Whether what a model is fitted to and what it is measured on have documents in common.

A document is in another text if its SHA-256 is, white space folded, or if half of its passages are: then
one was cut out of the other, or set otherwise. A passage begins behind the end of a sentence, so that the
same sentences make the same passages wherever they stand. A few passages in common are no fault: pages of
the web share their notices and menus.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hf_prune.errors import OverlappingData
from hf_prune.stages.texts.text import Text, fold

PASSAGE = 240  # characters, some forty words
SHARED = 0.5  # of the passages of a document
SENTENCE_END = re.compile(r"[.!?][\"')\u2019\u201d]*\s+|[\u3002\uff01\uff1f]")  # also Chinese and Japanese
QUESTION_WORDS = 13  # a shorter question may stand in a text by chance (GPT-3, 2005.14165, appendix C)


@dataclass(frozen=True, slots=True)
class Part:
    """A text, and what it is for."""

    purpose: str  # "calibration text"
    option: str  # that gives another: "--calibration"
    text: Text


@dataclass(frozen=True, slots=True)
class _Document:
    """What a document is known by."""

    text: str
    sha256: bytes
    passages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    """The documents of a text, and of conversations also what was said in each turn."""

    documents: tuple[_Document, ...]
    known: frozenset[bytes]  # of all of them, whole and by passages

    def holds(self, document: _Document, share: float) -> bool:
        """Whether a document is here, or any of its passages and at least that share of them."""
        if document.sha256 in self.known:
            return True
        found = [passage in self.known for passage in document.passages]
        return any(found) and sum(found) >= share * len(found)


def check_apart(fitted: Sequence[Part], measured: Sequence[Part]) -> None:
    """No document may serve two of calibration, healing and evaluation.

    Args:
        fitted: what the model is fitted to; no two of them may overlap.
        measured: what it is measured on, all apart from what it is fitted to; they may overlap each other.

    Raises:
        OverlappingData: a document is in two of them.
    """
    parts = [(part, _index(part.text)) for part in (*fitted, *measured)]
    for number, (part, index) in enumerate(parts[: len(fitted)]):
        for other, others in parts[number + 1 :]:
            shared = [d.text for d in others.documents if index.holds(d, SHARED)]
            shared = shared or [d.text for d in index.documents if others.holds(d, SHARED)]
            if shared:
                raise OverlappingData(_told(shared, "documents", part, other))


def check_questions(fitted: Sequence[Part], prompts: Iterable[str], asked: Part) -> None:
    """No question that is asked may stand in what a model is fitted to.

    Args:
        fitted: what the model is fitted to.
        prompts: the questions; those of fewer than `QUESTION_WORDS` words are not looked for.
        asked: where they come from.

    Raises:
        OverlappingData: one does.
    """
    sought: dict[str, list[str]] = {}  # by their first words, so that a long text is read once for them all
    for prompt in map(fold, prompts):
        if prompt.count(" ") + 1 >= QUESTION_WORDS:
            sought.setdefault(" ".join(prompt.split(" ", QUESTION_WORDS)[:QUESTION_WORDS]), []).append(prompt)
    for part in fitted:
        if shared := list(dict.fromkeys(_standing_in(part.text, sought))):
            raise OverlappingData(_told(shared, "questions", part, asked))


def _standing_in(text: Text, sought: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for document in map(fold, _documents(text)):
        words = document.split(" ")
        for first in range(len(words) - QUESTION_WORDS + 1):
            begun = sought.get(" ".join(words[first : first + QUESTION_WORDS]))
            yield from (prompt for prompt in begun or () if prompt in document)


def leave_out(text: Text, others: Iterable[Text]) -> Text:
    """A text without the documents of which even a single passage is in others."""
    indices = list(map(_index, others))
    kept = [d.text for d in map(_document, text.documents) if not any(i.holds(d, 0) for i in indices)]
    return replace(text, documents=tuple(kept))


def _told(shared: Sequence[str], things: str, one: Part, other: Part) -> str:
    return (
        f"{len(shared)} {things} are both in the {one.purpose} {one.text.name} and in the {other.purpose} "
        f"{other.text.name}, the first begins {fold(shared[0])[:40]!r}: figures on what a model was fitted "
        f"to mean nothing; take them out of one, or give others by {one.option} or {other.option}"
    )


def _documents(text: Text) -> Iterator[str]:
    yield from text.documents
    for conversation in text.conversations:
        yield from (turn.content for turn in conversation.turns)


def _index(text: Text) -> _Index:
    documents = tuple(map(_document, _documents(text)))
    known = [known for document in documents for known in (document.sha256, *document.passages)]
    return _Index(documents=documents, known=frozenset(known))


def _document(text: str) -> _Document:
    folded = fold(text)
    starts = (0, *(found.end() for found in SENTENCE_END.finditer(folded)))
    passages = (folded[start : start + PASSAGE] for start in starts if start + PASSAGE <= len(folded))
    return _Document(text=text, sha256=_sha256(folded), passages=tuple(map(_sha256, passages)))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
