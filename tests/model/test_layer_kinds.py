"""The kind of a layer, apart from its weights, and what a cut may change about it."""

import pytest
import torch
from torch import nn

from hf_prune.model.layer_kinds import changes, kinds_of

KEPT = (0, 2)


class Layer(nn.Module):
    def __init__(self, number, **traits):
        super().__init__()
        self.layer_idx = number
        self.projection = nn.Linear(2, 2)
        for name, value in traits.items():
            setattr(self, name, value)


def messages(before, after, kept=KEPT):
    return [str(change) for change in changes(kinds_of(before), kinds_of(after), kept)]


def test_layers_that_differ_in_number_alone_are_of_one_kind():
    assert (
        messages([Layer(n, cached_at=n + 5) for n in range(4)], [Layer(n, cached_at=n + 5) for n in range(2)])
        == []
    )


def test_a_count_of_all_layers_may_follow_the_cut():
    before = [Layer(n, depth=4, kinds=list("abab")) for n in range(4)]
    assert messages(before, [Layer(n, depth=2, kinds=list("aa")) for n in range(2)]) == []
    assert messages(before, [Layer(n, depth=3, kinds=list("aa")) for n in range(2)]) == [
        "layer 0 would have depth 3 instead of 4",
        "layer 2 would have depth 3 instead of 4",
    ]
    assert len(messages(before, [Layer(n, depth=2, kinds=list("ab")) for n in range(2)])) == 2


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"window": 8}, "layer 2 would have window 8 instead of none"),
        ({"window": None, "added": 1}, "layer 2 would have added 1 instead of absent"),
    ],
)
def test_an_attribute_that_changes_is_found(traits, message):
    before = [Layer(n, window=None) for n in range(4)]
    assert messages(before, [Layer(0, window=None), Layer(1, **traits)]) == [message]


def test_a_flag_of_keys_left_to_later_layers_is_no_part_of_the_kind():
    before = [Layer(n, store_full_length_kv=n == 3) for n in range(4)]  # Gemma 4: the last of each type
    assert messages(before, [Layer(n, store_full_length_kv=n == 1) for n in range(2)]) == []


def test_another_class_or_width_of_a_part_is_found():
    before = [Layer(n) for n in range(4)]
    wide = Layer(1)
    wide.projection = nn.Linear(3, 2)
    assert "layer 2 would have projection.in_features 3 instead of 2" in messages(before, [Layer(0), wide])
    other = Layer(1)
    other.projection = nn.Identity()
    assert "layer 2 would have projection.class Identity instead of Linear" in messages(
        before, [Layer(0), other]
    )


@pytest.mark.parametrize("saved", [True, False])
def test_a_buffer_counts_by_its_values_unless_they_come_with_the_weights(saved):
    def sloped(number, slope):
        layer = Layer(number)
        layer.register_buffer("slope", torch.tensor([slope]), persistent=saved)
        return layer

    before = [sloped(number, 1 / (number + 1)) for number in range(4)]
    moved = messages(before, [sloped(number, 1 / (number + 1)) for number in range(2)])
    assert len(moved) == (0 if saved else 1)


def test_a_step_between_layers_that_is_not_one_is_no_numbering():
    before = [Layer(n, added_at=2 * n) for n in range(4)]
    assert messages(before, [Layer(n, added_at=2 * n) for n in range(2)]) == [
        "layer 2 would have added_at 2 instead of 4"
    ]
