"""Texts into windows of token ids."""

import gzip
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hf_prune.errors import UnusableText

BUILT_IN_CALIBRATION = "c4_calibration"
BUILT_IN_HELDOUT = "c4_heldout"
BUILT_IN_HEALING = "c4_healing"
BUILT_IN_ELSEWHERE = "letters_heldout"  # held out too, and of another domain
BUILT_IN_TEXTS = {  # and the data sets on the Hub that they were taken from
    BUILT_IN_CALIBRATION: "allenai/c4",
    BUILT_IN_HELDOUT: "allenai/c4",
    BUILT_IN_HEALING: "allenai/c4",
    BUILT_IN_ELSEWHERE: None,
}
TEXT_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says."""

    role: str  # "system", "user" or "assistant"
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Questions and answers; only the answers are to be learnt."""

    turns: tuple[Turn, ...]
    templated: bool  # whether the model's chat template is put around them


@dataclass(frozen=True)
class Text:
    """Documents, and where they came from."""

    name: str
    dataset: str | None  # its id on the Hub, where it has one
    documents: tuple[str, ...]
    conversations: tuple[Conversation, ...] = ()  # that the documents hold, where they do


def built_in_text(name: str) -> Text:
    """One of the texts that come with hf-prune; no document is in two of them."""
    packed = resources.files("hf_prune.stages.texts").joinpath(f"built_in/{name}.jsonl.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    documents = tuple(json.loads(line)["text"] for line in lines)
    return Text(name=name, dataset=BUILT_IN_TEXTS[name], documents=documents)


def read_text(path: Path, field: str = "text") -> Text:
    """Documents from a file: .txt (parted by blank lines) or .jsonl (an object a line), also .gz.

    Args:
        path: the file.
        field: of an object, that holds its document.

    Raises:
        UnusableText: the file is missing, has another ending, or a line that is not such an object.
    """
    lines = read_lines(path)
    if ".jsonl" in path.suffixes:
        documents = [_document(path, n, line, field) for n, line in enumerate(lines, 1)]
    else:
        documents = [paragraph.strip() for paragraph in "\n".join(lines).split("\n\n")]
    return Text(name=path.name, dataset=None, documents=tuple(filter(None, documents)))


def read_lines(path: Path) -> list[str]:
    """The lines of a text: see `content_of`."""
    return content_of(path, TEXT_SUFFIXES).split("\n")


def content_of(path: Path, suffixes: tuple[str, ...]) -> str:
    """What a text file holds, packed or not.

    Raises:
        UnusableText: the file is missing, has none of these endings, or is not text.
    """
    if not path.is_file():
        raise UnusableText(f"there is no text file {path}")
    if not path.name.endswith(suffixes):
        raise UnusableText(f"{path} does not end in one of {', '.join(suffixes)}")
    packed = path.read_bytes()
    try:
        return (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode()
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise UnusableText(f"{path} is not UTF-8 text: {error}") from error


def _document(path: Path, number: int, line: str, field: str) -> str:
    if not line.strip():
        return ""
    try:
        return str(json.loads(line)[field])
    except (ValueError, KeyError, TypeError):
        raise UnusableText(f'{path}, line {number}, is not a JSON object with a field "{field}"') from None


def digest(text: Text) -> str:
    """Changes when the documents do, white space aside."""
    hashes = (hashlib.sha256(fold(document).encode()).digest() for document in text.documents)
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def fold(document: str) -> str:
    """A document on one line, so that two that differ in white space alone are the same."""
    return " ".join(document.split())
