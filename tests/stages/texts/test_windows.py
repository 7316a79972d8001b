"""Texts become full windows of real tokens."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from hf_prune.errors import UnusableText
from hf_prune.stages.texts.text import BUILT_IN_HELDOUT, Text, built_in_text
from hf_prune.stages.texts.windows import set_aside, to_windows
from tests.support.encoders import encoder_tokenizer
from tests.support.models import small_tokenizer

TEXT = built_in_text(BUILT_IN_HELDOUT)


@pytest.fixture(params=[True, False], ids=["starts with <s>", "starts with the text"])
def tokenizer(request, tiny_models):
    tokenizer = AutoTokenizer.from_pretrained(tiny_models("llama"))
    if request.param:
        template = {"single": "<s> $A", "special_tokens": [("<s>", 0)]}
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


@pytest.mark.parametrize(("windows", "aside"), [(12, 4), (5, 2), (2, 1), (1, 0)])
def test_windows_set_aside_are_the_last_and_never_more_than_half(windows, aside):
    made = to_windows(TEXT, small_tokenizer(), num_sequences=windows, length=16)
    fitted, chosen_by = set_aside(made, 4)
    assert (len(fitted.ids), len(chosen_by.ids)) == (windows - aside, aside)
    assert torch.equal(torch.cat([fitted.ids, chosen_by.ids]), made.ids)
    assert fitted.record.num_sequences == windows - aside


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
