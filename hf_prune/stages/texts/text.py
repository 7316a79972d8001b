"""Texts: those that come with hf-prune, and the files of users."""

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
BUILT_IN_ELSEWHERE = "letters_heldout"  # held out too, of another domain
BUILT_IN_TEXTS = {  # with their data sets on the Hub
    BUILT_IN_CALIBRATION: "allenai/c4",
    BUILT_IN_HELDOUT: "allenai/c4",
    BUILT_IN_HEALING: "allenai/c4",
    BUILT_IN_ELSEWHERE: None,
}
TEXT_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str  # "system", "user" or "assistant"
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Questions and answers. Only the answers are learnt."""

    turns: tuple[Turn, ...]
    templated: bool  # to be rendered by the model's chat template


@dataclass(frozen=True)
class TextSource:
    """The name and the data set of a text, or of images."""

    name: str
    dataset: str | None  # its id on the Hub, if it has one


@dataclass(frozen=True)
class Text(TextSource):
    """Documents and their source."""

    documents: tuple[str, ...]
    conversations: tuple[Conversation, ...] = ()  # the same documents as conversations, if they are some

    @property
    def sha256(self) -> str:
        """Changes when the documents do, white space aside."""
        hashes = (hashlib.sha256(fold(document).encode()).digest() for document in self.documents)
        return hashlib.sha256(b"".join(hashes)).hexdigest()


def built_in_text(name: str) -> Text:
    """One of the texts that come with hf-prune. No document is in two of them."""
    packed = resources.files("hf_prune.stages.texts").joinpath(f"built_in/{name}.jsonl.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    documents = tuple(json.loads(line)["text"] for line in lines)
    return Text(name=name, dataset=BUILT_IN_TEXTS[name], documents=documents)


def read_text(path: Path, field: str = "text") -> Text:
    """Documents from a file: .txt (separated by blank lines) or .jsonl (one object per line), also .gz.

    Each object has its document in `field`.

    Raises:
        UnusableText: the file is missing, has another ending, or has a line without such an object.
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
    """The content of a text file, gzipped or not.

    Raises:
        UnusableText: the file is missing, has none of these endings, or is not text.
    """
    if not path.is_file():
        raise UnusableText(f"there is no text file {path}")
    if not path.name.endswith(suffixes):
        raise UnusableText(f"{path} does not end in one of {', '.join(suffixes)}")
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise UnusableText(f"{path} is not UTF-8 text: {error}") from error


def _document(path: Path, number: int, line: str, field: str) -> str:
    if not line.strip():
        return ""
    try:
        return str(json.loads(line)[field])
    except (ValueError, KeyError, TypeError):
        raise UnusableText(f'{path}, line {number}, is not a JSON object with a field "{field}"') from None


def fold(document: str) -> str:
    """A document on one line, so that two documents that differ only in white space become equal."""
    return " ".join(document.split())
