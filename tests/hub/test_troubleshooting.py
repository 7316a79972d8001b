"""docs/troubleshooting.md quotes messages of the code, word for word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_prune import errors
from tests.support.checkout import ROOT

PACKAGE = ROOT / "hf_prune"
CLASSES = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.HfPruneError) and not kind.__subclasses__()
}
ACCESS = [PACKAGE / "hub" / name for name in ("permission.py", "plain_errors.py")]
VALUE = "…"  # in place of a value in a message
WORD = re.compile(r"[a-z]{3}")


def words_of(node: ast.expr) -> str:
    """The words of a message, with `…` for each value."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(words_of(value) for value in values)
    return VALUE


def of_a_row(row: ast.Tuple) -> tuple[str, str] | None:
    """The class and the words of a row of a table of errors, `(predicate, class, words)`."""
    match row.elts:
        case [_, ast.Name(id=kind), ast.Constant(value=str(text))] if kind in CLASSES:
            return kind, re.sub(r"\{\w+\}", VALUE, text)
    return None


def messages(path: Path) -> Iterator[tuple[str, str]]:
    """The class and the words of each error that a module makes, if it has words at all."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            words = words_of(node.args[0])
            known = node.func.id in {*CLASSES, "HfPruneError"}
            if known and WORD.search(words):
                yield node.func.id, words
        if isinstance(node, ast.Tuple) and (row := of_a_row(node)):
            yield row
        # A function of its own makes some messages.
        if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr | ast.BinOp):
            parts = [part for part in ast.walk(node.value) if isinstance(part, ast.JoinedStr)]
            parts.sort(key=lambda part: (part.lineno, part.col_offset))
            yield "", words_of(parts[0]) if parts else VALUE


ALL = [(path, *message) for path in sorted(PACKAGE.rglob("*.py")) for message in messages(path)]


@pytest.fixture(scope="module")
def quoted() -> list[str]:
    """The first words of messages, in the first column of the document's tables."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    return [words for cell in cells for words in re.findall(r"`([^`]+)`", cell)]


def test_every_refusal_of_access_has_an_entry(quoted: list[str]) -> None:
    needed = {words for path, kind, words in ALL if path in ACCESS and kind == "AccessDenied"}
    assert len(needed) > 15
    assert [words for words in sorted(needed) if not words.startswith(tuple(quoted))] == []


def test_every_entry_is_how_some_message_begins(quoted: list[str]) -> None:
    known = [words for _, _, words in ALL]
    stale = [quote for quote in quoted if not any(words.startswith(quote) for words in known)]
    assert stale == []
    assert len(set(quoted)) == len(quoted) > 40
