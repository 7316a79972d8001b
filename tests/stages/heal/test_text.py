"""Windows to train on: packed, without padding, and apart from those that are watched."""

import pytest
import torch

from hf_prune.errors import UnusableText
from hf_prune.stages.heal.text import of_windows, pack, read_text, save_text, split_watched
from tests.support.plain import some_tokens, windows_of


def test_conversations_are_packed_one_after_another_and_only_answers_count():
    conversations = [([1, 2, 3, 4], [False, False, True, True]), ([5, 6, 7], [False, True, True])]
    packed = pack(conversations * 2, 5, "answers")
    assert packed.ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 1, 2, 3]]
    assert packed.loss_mask.tolist() == [[False, False, True, True, False], [True, True, False, False, True]]


def test_too_little_to_fill_a_window_is_refused():
    with pytest.raises(UnusableText, match="answers has 3 tokens"):
        pack([([1, 2, 3], [True] * 3)], 4, "answers")


def test_in_plain_text_every_token_counts():
    text = of_windows(windows_of(some_tokens(3, 8)))
    assert bool(text.loss_mask.all())


@pytest.mark.parametrize(("total", "watched"), [(2, 1), (40, 4), (600, 16)])
def test_windows_are_set_aside_to_watch_by_and_none_is_in_both_parts(total, watched):
    text = of_windows(windows_of(some_tokens(total, 8)))
    learnt, aside = split_watched(text)
    assert (len(learnt.ids), len(aside.ids)) == (total - watched, watched)
    assert torch.equal(torch.cat([learnt.ids, aside.ids]), text.ids)


def test_a_single_window_cannot_be_both_learnt_and_watched():
    with pytest.raises(UnusableText, match="longer --heal-data"):
        split_watched(of_windows(windows_of(some_tokens(1, 8))))


def test_what_is_saved_is_what_is_read(tmp_path):
    text = pack([([1, 2, 3, 4], [False, False, True, True])] * 3, 6, "answers")
    save_text(text, tmp_path / "text")
    again = read_text(tmp_path / "text")
    assert torch.equal(again.ids, text.ids)
    assert torch.equal(again.loss_mask, text.loss_mask)
