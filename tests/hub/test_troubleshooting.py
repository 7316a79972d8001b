"""docs/troubleshooting.md has the messages of the code, word for word, and no others."""

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
WHOLE = [  # where each message has an entry
    *sorted(PACKAGE.glob("hub/*.py")),
    *(PACKAGE / name for name in ("disk.py", "licence.py", "finished.py", "recorded.py", "run_folder.py")),
]
UNSAID = "…"  # what is put into a message when it is raised
WORD = re.compile(r"[a-z]{3}")


def said(node: ast.expr) -> str:
    """The words of a message, with `…` for each value in it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(said(value) for value in values)
    return UNSAID


def messages(path: Path) -> Iterator[tuple[str, str]]:
    """The class and the words of each error that a module makes; of bare values there are none to quote."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            words = said(node.args[0])
            known = node.func.id in {*CLASSES, "HfPruneError"}
            if known and WORD.search(words):
                yield node.func.id, words
        # Some messages are put together in a function of their own.
        if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr | ast.BinOp):
            parts = [part for part in ast.walk(node.value) if isinstance(part, ast.JoinedStr)]
            parts.sort(key=lambda part: (part.lineno, part.col_offset))
            yield "", said(parts[0]) if parts else UNSAID


ALL = [(path, *message) for path in sorted(PACKAGE.rglob("*.py")) for message in messages(path)]


@pytest.fixture(scope="module")
def quoted() -> list[str]:
    """The beginnings of messages that the document shows."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_every_message_about_the_hub_the_disk_the_licence_and_runs_has_an_entry(quoted: list[str]) -> None:
    wanted = {words for path, kind, words in ALL if path in WHOLE and kind}
    assert len(wanted) > 40
    assert [words for words in sorted(wanted) if not words.startswith(tuple(quoted))] == []


def test_every_entry_is_how_some_message_begins(quoted: list[str]) -> None:
    known = [words for _, _, words in ALL]
    stale = [quote for quote in quoted if not any(words.startswith(quote) for words in known)]
    assert stale == []
    assert len(set(quoted)) == len(quoted) > 70


def test_every_class_of_errors_has_an_entry(quoted: list[str]) -> None:
    shown = {kind for _, kind, words in ALL if words.startswith(tuple(quoted))}
    assert CLASSES - shown == set()
