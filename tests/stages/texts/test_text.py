"""Texts: the built-in ones, and the files of users."""

import gzip
import json
from importlib import resources

import pytest

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import BUILT_IN_CALIBRATION, BUILT_IN_HELDOUT, built_in_text, read_text

TEXT = built_in_text(BUILT_IN_HELDOUT)


def test_the_built_in_texts_are_small():
    for file in resources.files("hf_prune.stages.texts").joinpath("built_in").iterdir():
        assert len(file.read_bytes()) < 1_000_000


@pytest.mark.parametrize("packed", [False, True])
def test_plain_text_and_json_lines_are_read_also_packed(tmp_path, packed):
    def put(name, content):
        path = tmp_path / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        return path

    documents = ("first\nline", "second")
    assert read_text(put("a.txt", "first\nline\n\nsecond\n\n\n\n")).documents == documents
    lines = "".join(json.dumps({"text": document, "url": "x"}) + "\n" for document in documents)
    assert read_text(put("a.jsonl", f"\n{lines}")).documents == documents


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"x", "does not end in one of"),
        ("a.jsonl", b'{"text": "x"}\n{"body": 1}\n', r"line 2, is not a JSON object with a field"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("a.txt.gz", b"not packed", "is not UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableText, match=said):
        read_text(tmp_path / name)
    with pytest.raises(UnusableText, match="there is no text file"):
        read_text(tmp_path / "missing.txt")


def test_the_digest_of_a_text_changes_with_its_documents():
    assert TEXT.sha256 == built_in_text(BUILT_IN_HELDOUT).sha256
    assert TEXT.sha256 != built_in_text(BUILT_IN_CALIBRATION).sha256
