"""Each way in which a configuration describes single layers has its value for the layers that stay."""

import pytest

from hf_prune.model.layer_fields import GUESSED, KeptLayers, guesses, value_for

KEPT = KeptLayers((0, 2, 4, 5), 6)


@pytest.mark.parametrize(
    ("name", "value", "shorter"),
    [
        ("layer_types", list("ababab"), list("aaab")),
        ("block_pattern", "MEMEM*", "MMM*"),
        ("layer_scales", {"0": 1.0, "3": 2.0, "5": 3.0}, {"0": 1.0, "3": 3.0}),
        ("attention_types", [[["a", "b"], 3]], [[["a", "a", "a", "b"], 1]]),
        ("layers_to_use", [0, 1, 2, 3, 4, 5], [0, 1, 2, 3]),
        ("mlp_only_layers", [0, 3, 4], [0, 2]),
    ],
)
def test_a_field_of_single_layers_follows_the_cut(name, value, shorter):
    assert value_for(name, value, KEPT) == shorter


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 6),
        ("eos_token_id", [0, 1, 2, 3, 4, 5]),
        ("name", "abcdef"),
        ("layer_scales", {"0": 1.0, "6": 2.0}),
        ("labels", {"0": "a", "1": "b"}),
        ("mlp_only_layers", [0, 6]),
        ("mlp_only_layers", [1, 1]),
        ("sizes", [1, 2]),
    ],
)
def test_any_other_field_is_left_alone(name, value):
    assert value_for(name, value, KEPT) is None


def test_a_set_may_count_from_one():
    from_one = KeptLayers(KEPT.numbers, KEPT.total, first_number=1)
    assert value_for("layer_ids", [3, 6], from_one) == [2, 4]


@pytest.mark.parametrize(
    ("name", "value", "guessed"),
    [
        ("first_k_dense_replace", 3, [2, 2]),  # of the first three layers, and of the last three
        ("max_window_layers", 1, [1, 1]),
        ("scale_depth", 1.5, [1.5 * (4 / 6) ** 0.5]),
        ("moe_layers", [1, 3], [[1, 2]]),
        ("block_types", ["r", "r", "a"], [["r", "a", "r", "a"]]),
        ("hidden_size", 64, []),
        ("eos_token_id", [0, 1], []),
    ],
)
def test_guesses_are_made_of_whatever_may_count_layers(name, value, guessed):
    values = [kind(name, value, KEPT) for kind in GUESSED]
    assert [each for each in values if each is not None] == guessed


def test_a_period_may_become_a_set_of_layers():
    edits = list(guesses({"mlp_only_layers": [], "decoder_sparse_step": 2}, KEPT, [[0, 1], [2]]))
    assert {"mlp_only_layers": [0, 1], "decoder_sparse_step": 1} in edits
    assert {"mlp_only_layers": [2], "decoder_sparse_step": 1} in edits
