"""Documents that are both in a text that a model is fitted to and in a text that it is measured on.

A document is part of another text if its SHA-256 is there, white space folded, or half of its passages: then
one is an excerpt of the other. A passage begins after the end of a sentence, so the same sentences make the
same passages in any document. A few shared passages are allowed, because web pages share notices and menus.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hf_prune.errors import OverlappingData
from hf_prune.stages.texts.text import Text, TextSource, fold

PASSAGE = 240  # characters, some forty words
SHARED = 0.5  # of the passages of a document
SENTENCE_END = re.compile(r"[.!?][\"')\u2019\u201d]*\s+|[\u3002\uff01\uff1f]")  # also Chinese and Japanese
QUESTION_WORDS = 13  # a shorter question may be in a text by chance (GPT-3, 2005.14165, appendix C)
Kind = TypeVar("Kind", bound=TextSource, covariant=True)


@dataclass(frozen=True, slots=True)
class Part(Generic[Kind]):
    """A text, its purpose in the run, and the option that sets it."""

    purpose: str  # "calibration text"
    option: str  # "--calibration"
    text: Kind


@dataclass(frozen=True, slots=True)
class _Document:
    text: str
    sha256: bytes
    passages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    documents: tuple[_Document, ...]  # of a text, with each turn of its conversations
    hashes: frozenset[bytes]  # of whole documents and of passages

    def holds(self, document: _Document, share: float) -> bool:
        """Whether the document is here, or at least one of its passages and at least `share` of them."""
        if document.sha256 in self.hashes:
            return True
        shared = sum(passage in self.hashes for passage in document.passages)
        return shared > 0 and shared >= share * len(document.passages)


def check_apart(fitted: Sequence[Part[Text]], measured: Sequence[Part[Text]]) -> None:
    """Refuse a document that would serve two of calibration, healing and evaluation.

    Texts that the model is measured on may overlap each other.

    Raises:
        OverlappingData: a document is in two texts.
    """
    parts = [(part, _index(part.text)) for part in (*fitted, *measured)]
    for number, (part, index) in enumerate(parts[: len(fitted)]):
        for other, others in parts[number + 1 :]:
            shared = [d.text for d in others.documents if index.holds(d, SHARED)]
            shared = shared or [d.text for d in index.documents if others.holds(d, SHARED)]
            if shared:
                raise _overlap(shared, "documents", part, other)


def check_questions(fitted: Sequence[Part[Text]], questions: Iterable[str], file: Part[TextSource]) -> None:
    """Refuse a question that is in a text that the model is fitted to.

    Questions of fewer than `QUESTION_WORDS` words are not looked for.

    Raises:
        OverlappingData: a question is in one of the texts.
    """
    by_first_words: dict[str, list[str]] = {}  # so that a long text is read once for all questions
    for question in map(fold, questions):
        if question.count(" ") + 1 >= QUESTION_WORDS:
            first_words = " ".join(question.split(" ", QUESTION_WORDS)[:QUESTION_WORDS])
            by_first_words.setdefault(first_words, []).append(question)
    for part in fitted:
        if shared := list(dict.fromkeys(_questions_in(part.text, by_first_words))):
            raise _overlap(shared, "questions", part, file)


def _questions_in(text: Text, by_first_words: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for document in map(fold, _documents(text)):
        words = document.split(" ")
        for first in range(len(words) - QUESTION_WORDS + 1):
            candidates = by_first_words.get(" ".join(words[first : first + QUESTION_WORDS]), ())
            yield from (question for question in candidates if question in document)


def leave_out(text: Text, others: Iterable[Text]) -> Text:
    """A text without the documents that share even one passage with the others."""
    indices = list(map(_index, others))
    kept = [d.text for d in map(_document, text.documents) if not any(i.holds(d, 0) for i in indices)]
    return replace(text, documents=tuple(kept))


def _overlap(
    shared: Sequence[str], things: str, one: Part[TextSource], other: Part[TextSource]
) -> OverlappingData:
    return OverlappingData(
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
    hashes = (sha256 for document in documents for sha256 in (document.sha256, *document.passages))
    return _Index(documents=documents, hashes=frozenset(hashes))


def _document(text: str) -> _Document:
    folded = fold(text)
    starts = (0, *(match.end() for match in SENTENCE_END.finditer(folded)))
    passages = (folded[start : start + PASSAGE] for start in starts if start + PASSAGE <= len(folded))
    return _Document(text=text, sha256=_sha256(folded), passages=tuple(map(_sha256, passages)))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
