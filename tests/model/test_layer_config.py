"""`config.json` of the shorter model: its layer fields follow the cut, everything else stays as written."""

import json

import pytest
from transformers import AutoConfig, PreTrainedConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.model.layer_config import cut_config
from hf_prune.model.skeleton import skeleton_of
from tests.support.families import tiny_config

KEPT = (0, 1, 4, 5)


def shorter(content: dict, kept: tuple[int, ...] = KEPT) -> dict:
    """The configuration after a cut, as a dictionary."""
    return json.loads(cut_text(json.dumps(content), kept))


def cut_text(text: str, kept: tuple[int, ...] = KEPT) -> str:
    content = PreTrainedConfig._decode_special_floats(json.loads(text))
    return cut_config(text, kept, skeleton_of(AutoConfig.for_model(**content), None))


def test_a_configuration_changes_in_its_layer_fields_alone():
    original = {"zeta": [1, 2], "model_type": "llama", "num_hidden_layers": 6, "mine": {"é": 1e-5}}
    text = json.dumps(original, indent=4, ensure_ascii=False)
    changed = cut_text(text)
    assert json.loads(changed) == original | {"num_hidden_layers": 4}
    assert list(json.loads(changed)) == list(original)
    assert changed == text.replace('"num_hidden_layers": 6', '"num_hidden_layers": 4') + "\n"


def test_the_depth_is_found_under_the_name_that_a_family_gives_it():
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


def of_family(model_type: str, **settings) -> dict:
    """The tiny configuration of a family, as `config.json` has it."""
    return json.loads(tiny_config(model_type).to_json_string(use_diff=False)) | settings


@pytest.mark.parametrize(
    ("family", "settings", "kept", "values"),
    [
        # layer numbers, counted from 0 and from 1
        ("qwen2_moe", {"mlp_only_layers": [0, 3]}, (0, 2, 3, 5), {"mlp_only_layers": [0, 2]}),
        ("bamba", {"attn_layer_indices": [2, 5]}, (0, 1, 4, 5), {"attn_layer_indices": [3]}),
        ("llama4_text", {"moe_layers": [1, 3, 5]}, (0, 3, 4, 5), {"moe_layers": [1, 3]}),
        ("qwen4_exp_text", {"ple_layer_ids": [2, 5]}, (0, 1, 3, 4, 5, 7), {"ple_layer_ids": [2, 4]}),
        # a count of the first layers
        ("deepseek_v3", {"first_k_dense_replace": 3}, (0, 2, 4, 5), {"first_k_dense_replace": 2}),
        # a period that the cut breaks, written out
        (
            "qwen2_moe",
            {"mlp_only_layers": [], "decoder_sparse_step": 2},
            (0, 1, 3, 5),
            {"mlp_only_layers": [0], "decoder_sparse_step": 1},
        ),
        # a pattern that repeats, and runs of patterns
        ("recurrent_gemma", {}, (0, 2, 3, 5), {"block_types": ["recurrent", "attention"] * 2}),
        (
            "gpt_neo",
            {"attention_types": [[["global", "local"], 3]]},
            (0, 2, 3),
            {"attention_types": [[["global", "global", "local"], 1]]},
        ),
        # the depth hidden in a factor
        ("minicpm3", {}, (0, 1, 4, 5), {"scale_depth": pytest.approx(1.4 * (4 / 6) ** 0.5)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_way_of_describing_single_layers_follows_the_cut(family, settings, kept, values):
    content = of_family(family, **settings)
    if settings:  # lists that state the same in another way would contradict it
        content = {
            k: v for k, v in content.items() if k in settings or k not in ("layer_types", "attention_layers")
        }
    after = shorter(content, kept)
    assert {field: after[field] for field in values} == values


def test_a_list_of_anything_else_stays_though_it_is_as_long():
    content = {"model_type": "llama", "num_hidden_layers": 3, "eos_token_id": [0, 1, 2]}
    assert shorter(content, (0, 2)) == content | {"num_hidden_layers": 2}


def test_the_text_part_of_a_multimodal_configuration_is_cut_and_nothing_else():
    content = of_family("gemma4_unified")
    after = shorter(content)
    assert after["text_config"]["num_hidden_layers"] == 4
    types = content["text_config"]["layer_types"]
    assert after["text_config"]["layer_types"] == [types[layer] for layer in KEPT]
    rest = {field: value for field, value in content.items() if field != "text_config"}
    assert {field: value for field, value in after.items() if field != "text_config"} == rest


def test_a_text_part_that_the_file_leaves_to_its_defaults_is_written_where_it_belongs():
    content = {"model_type": "llava", "text_config": {"model_type": "llama"}}
    after = shorter(content, tuple(range(20)))
    assert after == {"model_type": "llava", "text_config": {"model_type": "llama", "num_hidden_layers": 20}}


def test_layers_that_predict_further_tokens_are_dropped():
    assert shorter(of_family("deepseek_v3", num_nextn_predict_layers=1))["num_nextn_predict_layers"] == 0


@pytest.mark.parametrize(
    ("family", "kept", "message"),
    [
        ("jamba", (0, 2, 3, 5), "cannot describe the remaining pattern of layers"),
        ("diffllama", (0, 1, 4, 5), "lambda_init .* follows from the layer's number"),
        ("kimi_linear", (0, 1, 2, 4, 5, 6), "has to leave one of kimi_linear's attention layers \\(3, 7\\)"),
    ],
)
def test_a_cut_that_a_configuration_cannot_describe_is_refused_in_one_line(family, kept, message):
    with pytest.raises(UnsupportedModel, match=message) as caught:
        shorter(of_family(family), kept)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_the_cut_keeps_is_no_obstacle():
    content = of_family("jamba", num_hidden_layers=12, attn_layer_period=4, attn_layer_offset=2)
    after = shorter(content, (0, 1, 2, 3, 8, 9, 10, 11))
    assert after == content | {"num_hidden_layers": 8}
