"""Texts become full windows of real tokens, and no document serves two purposes."""

import gzip
import json
from importlib import resources

import pytest
import torch
from transformers import AutoTokenizer

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import (
    BUILT_IN_CALIBRATION,
    BUILT_IN_HELDOUT,
    Text,
    built_in_text,
    digest,
    read_text,
)
from hf_prune.stages.texts.windows import longest_window, set_aside, to_windows
from tests.support.encoders import encoder_tokenizer
from tests.support.models import small_tokenizer

TEXT = built_in_text(BUILT_IN_HELDOUT)


@pytest.fixture(params=[True, False], ids=["starts with <s>", "starts with the text"])
def tokenizer(request, tiny_models):
    tokenizer = AutoTokenizer.from_pretrained(tiny_models("llama"))
    if request.param:
        template = {"single": "<s> $A", "special_tokens": [("<s>", 0)]}
        from tokenizers.processors import TemplateProcessing

        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**template)
    return tokenizer, request.param


def test_windows_are_the_text_in_order_with_the_tokenizer_s_own_start(tokenizer):
    tokenizer, starts = tokenizer
    windows = to_windows(TEXT, tokenizer, num_sequences=5, length=32)
    assert windows.ids.shape == (5, 32)
    assert (windows.ids[:, 0] == 0).all() == starts
    body = windows.ids[:, 1:] if starts else windows.ids
    whole = tokenizer(TEXT.documents[0], add_special_tokens=False)["input_ids"]
    assert body.flatten().tolist() == whole[: body.numel()]


def test_documents_are_joined_by_a_blank_line_and_nothing_is_padded():
    text = Text(name="two", dataset=None, documents=("first " * 10, "second " * 10))
    windows = to_windows(text, small_tokenizer(), num_sequences=99, length=8)
    read = small_tokenizer().decode(windows.ids.flatten())
    assert "first \n\nsecond" in read
    assert "</s>" not in read


def test_the_order_of_the_documents_is_seeded():
    def ids(seed):
        return to_windows(TEXT, small_tokenizer(), num_sequences=4, length=64, shuffle_seed=seed).ids

    assert torch.equal(ids(1), ids(1))
    assert not torch.equal(ids(1), ids(2))


def test_the_record_tells_what_the_windows_hold():
    windows = to_windows(TEXT, small_tokenizer(), num_sequences=3, length=16)
    record = windows.record
    assert (record.num_sequences, record.sequence_length, record.num_tokens) == (3, 16, 48)
    assert (record.name, record.dataset) == ("c4_heldout", "allenai/c4")
    assert record.sha256 != to_windows(TEXT, small_tokenizer(), num_sequences=3, length=17).record.sha256


def test_a_text_that_fills_no_window_is_refused():
    text = Text(name="short.txt", dataset=None, documents=("too short",))
    with pytest.raises(UnusableText, match=r"short.txt has \d+ tokens, which does not fill"):
        to_windows(text, small_tokenizer(), num_sequences=1, length=512)


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


@pytest.mark.parametrize(("windows", "aside"), [(12, 4), (5, 2), (2, 1), (1, 0)])
def test_windows_set_aside_are_the_last_and_never_more_than_half(windows, aside):
    made = to_windows(TEXT, small_tokenizer(), num_sequences=windows, length=16)
    fitted, chosen_by = set_aside(made, 4)
    assert (len(fitted.ids), len(chosen_by.ids)) == (windows - aside, aside)
    assert torch.equal(torch.cat([fitted.ids, chosen_by.ids]), made.ids)
    assert fitted.record.num_sequences == windows - aside


def test_the_digest_of_a_text_changes_with_its_documents():
    assert digest(TEXT) == digest(built_in_text(BUILT_IN_HELDOUT))
    assert digest(TEXT) != digest(built_in_text(BUILT_IN_CALIBRATION))


def test_a_window_is_no_longer_than_the_model_was_made_for():
    assert longest_window(512, [None, 128]) == 128
    assert longest_window(512, [8192]) == 512


def test_a_window_of_an_encoder_has_the_special_tokens_of_a_whole_text():
    text, tokenizer = built_in_text(BUILT_IN_HELDOUT), encoder_tokenizer()
    plain = to_windows(text, small_tokenizer(), num_sequences=3, length=14).ids
    whole = to_windows(text, tokenizer, num_sequences=3, length=16, whole=True).ids
    assert whole[:, 0].tolist() == [tokenizer.cls_token_id] * 3
    assert whole[:, -1].tolist() == [tokenizer.sep_token_id] * 3
    assert torch.equal(whole[:, 1:-1], plain)


def test_a_tokenizer_without_special_tokens_gives_an_encoder_none():
    text = built_in_text(BUILT_IN_HELDOUT)
    plain, whole = (
        to_windows(text, small_tokenizer(), num_sequences=2, length=16, whole=whole).ids
        for whole in (False, True)
    )
    assert torch.equal(plain, whole)
