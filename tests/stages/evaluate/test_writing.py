"""What a model writes is the likeliest text, and its repetition and its agreement are counted by hand."""

import json
import shutil

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.records import Continuations
from hf_prune.stages.evaluate.writing import (
    NEW_TOKENS,
    TEXTS,
    beginnings_of,
    compare_writings,
    new_tokens,
    repetition,
    same_tokens,
    write,
)
from tests.support.plain import plain_logits, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")


def written(folder, windows):
    return write(folder, open_decoder(folder, CPU), windows, "dense", silent)


def greedy(folder, beginning, count, end=None):
    """Token by token, by whole passes without a cache."""
    model, text = plain_model(folder), list(beginning)
    while len(text) < len(beginning) + count and (len(text) == len(beginning) or text[-1] != end):
        text.append(int(plain_logits(model, torch.tensor([text]))[0, -1].argmax()))
    return tuple(text[len(beginning) :])


@pytest.fixture
def changed(tiny_models, tmp_path):
    """A tiny model with another generation config."""

    def make(**settings):
        folder = shutil.copytree(tiny_models("llama"), tmp_path / "model")
        path = folder / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        return folder

    return make


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ((1, 2, 3, 4, 5, 6, 7, 8), 0.0),
        ((1, 2, 3, 4, 1, 2, 3, 4), 1 / 5),  # of 1234 2341 3412 4123 1234 the last was there before
        ((7,) * 10, 6 / 7),
        ((7, 7, 7), 0.0),
        ((), 0.0),
    ],
)
def test_repetition_is_the_share_of_four_tokens_in_a_row_that_were_there_before(tokens, share):
    assert repetition(tokens) == pytest.approx(share)


def test_same_tokens_count_to_the_first_difference():
    assert same_tokens((1, 2, 3, 4), (1, 2, 9, 4)) == 2
    assert same_tokens((1, 2), (1, 2, 3)) == 2
    assert same_tokens((5,), (6,)) == 0


def test_what_is_written_fits_into_a_window():
    for length, beginning, new in ((512, 32, NEW_TOKENS), (32, 16, 16), (80, 32, 48)):
        windows = windows_of(some_tokens(12, length))
        assert beginnings_of(windows).ids.shape == (TEXTS, beginning)
        assert new_tokens(windows) == new


def test_every_token_is_the_likeliest(changed):
    folder = changed(do_sample=True, temperature=9.0, repetition_penalty=5.0, eos_token_id=None)
    windows = windows_of(some_tokens(3, 32))
    expected = tuple(greedy(folder, ids[:16], 16) for ids in windows.ids.tolist())
    assert written(folder, windows).texts == expected


def test_a_text_ends_where_the_model_ends_it(changed, tiny_models):
    windows = windows_of(some_tokens(3, 32))
    starts = [ids[:16] for ids in windows.ids.tolist()]
    end = greedy(tiny_models("llama"), starts[0], 4)[3]
    folder = changed(eos_token_id=[end, 319])
    texts = written(folder, windows).texts
    assert texts[0] == greedy(folder, starts[0], 16, end)
    assert texts[0][-1] == end
    assert len(texts[0]) <= 4


def test_variants_are_compared_with_the_original_text_by_text():
    windows = windows_of(some_tokens(2, 32))
    original = Continuations(variant="dense", texts=((1, 2, 3, 4, 5, 6), (1, 1, 1, 1, 1, 1)), reason=None)
    cut = Continuations(variant="cut", texts=((1, 2, 9, 9), (1, 1, 1, 1, 1, 7)), reason=None)
    trial = compare_writings([original, cut], windows, lambda ids: " ".join(map(str, ids)))
    dense, shorter = trial.found
    assert (dense.same_tokens, shorter.same_tokens) == (None, 3.5)
    assert (dense.repetition, shorter.repetition) == pytest.approx((1 / 3, 1 / 6))
    assert dense.repetition_stderr == pytest.approx(1 / 3)
    assert (dense.written_tokens, shorter.written_tokens) == (6, 5)
    assert (shorter.sample, shorter.num_texts, shorter.new_tokens) == ("1 2 9 9", 2, 16)
    assert dense.text == shorter.text == beginnings_of(windows).record


def test_where_one_cannot_write_the_reason_stands_for_all():
    windows = windows_of(some_tokens(1, 32))
    original = Continuations(variant="dense", texts=((1, 2),), reason=None)
    cut = Continuations(variant="cut", texts=(), reason="no room")
    trial = compare_writings([original, cut], windows, str)
    assert (trial.found, trial.reason) == ((), "no room")


def test_a_model_that_cannot_be_loaded_is_a_reason(tiny_models, tmp_path):
    decoder = open_decoder(tiny_models("llama"), CPU)
    found = write(tmp_path, decoder, windows_of(some_tokens(1, 32)), "cut", silent)
    assert found.texts == ()
    assert found.reason.startswith("transformers cannot generate text with cut: ")
