"""`config.json` of the shorter model: its layer fields follow the cut, everything else stays as written."""

import json

import pytest
from transformers import AutoConfig

from hf_prune.anatomy import skeleton_of
from hf_prune.layer_config import cut_config

KEPT = (0, 1, 4, 5)


def shorter(content: dict, kept: tuple[int, ...] = KEPT) -> dict:
    """The configuration after a cut, as a dictionary."""
    return json.loads(cut_text(json.dumps(content), kept))


def cut_text(text: str, kept: tuple[int, ...] = KEPT) -> str:
    return cut_config(text, kept, skeleton_of(AutoConfig.for_model(**json.loads(text)), None))


def test_a_configuration_changes_in_its_layer_fields_alone():
    original = {"zeta": [1, 2], "model_type": "llama", "num_hidden_layers": 6, "mine": {"é": 1e-5}}
    text = json.dumps(original, indent=4, ensure_ascii=False)
    changed = cut_text(text)
    assert json.loads(changed) == original | {"num_hidden_layers": 4}
    assert list(json.loads(changed)) == list(original)
    assert changed == text.replace('"num_hidden_layers": 6', '"num_hidden_layers": 4') + "\n"


def test_the_field_of_a_family_with_its_own_word_is_found():
    assert shorter({"model_type": "gpt2", "n_layer": 6}, (0, 5))["n_layer"] == 2


def test_a_list_with_an_entry_for_each_layer_keeps_those_of_the_kept_layers():
    types = ["sliding_attention", "full_attention"] * 3
    text = json.dumps({"model_type": "qwen3", "num_hidden_layers": 6, "layer_types": types})
    assert json.loads(cut_text(text, (0, 3, 4)))["layer_types"] == [types[0], types[3], types[4]]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gemma3_text", {"sliding_window": 16, "num_hidden_layers": 8}),
        ("gemma2", {"sliding_window": 16, "num_hidden_layers": 8}),
        (
            "qwen2",
            {
                "use_sliding_window": True,
                "sliding_window": 16,
                "max_window_layers": 3,
                "num_hidden_layers": 8,
            },
        ),
    ],
)
def test_a_pattern_that_the_class_derives_is_written_out_where_the_cut_would_shift_it(family, settings):
    text = json.dumps({"model_type": family, **settings})
    kept = (0, 2, 3, 5, 6)
    before = AutoConfig.for_model(family, **settings).layer_types
    after = AutoConfig.for_model(**json.loads(cut_text(text, kept)))
    assert after.layer_types == [before[layer] for layer in kept]
    assert len(set(after.layer_types)) == 2
