"""The layers and their fields are found by structure; what cannot be cut is refused with the reason."""

import json
import shutil

import pytest
from torch import nn
from transformers import AutoConfig

from hf_prune.anatomy import build_skeleton, cut_config, describe, find_layers, layer_of, renumber
from hf_prune.errors import UnsupportedModel
from tests.plain import edit_json

KEPT = (0, 1, 4, 5)


def stack(count):
    return nn.ModuleList(nn.Linear(2, 2) for _ in range(count))


@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("llama", "model.layers"),
        ("gpt2", "transformer.h"),
        ("opt", "model.decoder.layers"),
        ("mamba", "backbone.layers"),
    ],
)
def test_the_layers_are_where_the_family_keeps_them(tiny_models, family, path):
    skeleton = build_skeleton(tiny_models(family))
    assert (skeleton.layer_path, skeleton.num_layers) == (path, 6)
    assert all(parameter.is_meta for parameter in skeleton.model.parameters())


def test_the_outermost_list_of_the_right_length_holds_the_layers():
    model = nn.Module()
    model.layers = nn.ModuleList(nn.ModuleDict({"experts": stack(3)}) for _ in range(3))
    model.heads = stack(2)
    assert find_layers(model, 3)[0] == "layers"


@pytest.mark.parametrize(("lists", "found"), [((4,), "nowhere"), ((3, 3), "list0, list1")])
def test_no_list_or_two_of_that_length_are_refused(lists, found):
    model = nn.Module()
    for number, count in enumerate(lists):
        setattr(model, f"list{number}", stack(count))
    with pytest.raises(UnsupportedModel, match=f"one list of 3 decoder layers; found: {found}"):
        find_layers(model, 3)


def test_the_figures_come_from_the_headers(tiny_models):
    skeleton = build_skeleton(tiny_models("llama"))
    anatomy = describe(skeleton)
    assert anatomy.parameters == sum(parameter.numel() for parameter in skeleton.model.parameters())
    assert len(set(anatomy.parameters_per_layer)) == 1
    assert anatomy.size_bytes == 4 * anatomy.parameters
    assert (anatomy.dtype, anatomy.tied_embeddings, anatomy.layer_prefix) == ("F32", False, "model.layers")
    assert anatomy.key_value_bytes_per_token == 2 * 6 * 2 * 8 * 4


def test_a_configuration_changes_in_its_layer_fields_alone():
    original = {"zeta": [1, 2], "model_type": "llama", "num_hidden_layers": 6, "mine": {"é": 1e-5}}
    text = json.dumps(original, indent=4, ensure_ascii=False)
    changed = cut_config(text, KEPT)
    assert json.loads(changed) == original | {"num_hidden_layers": 4}
    assert list(json.loads(changed)) == list(original)
    assert changed == text.replace('"num_hidden_layers": 6', '"num_hidden_layers": 4') + "\n"


def test_the_field_of_a_family_with_its_own_word_is_found():
    assert json.loads(cut_config('{"model_type": "gpt2", "n_layer": 6}', (0, 5)))["n_layer"] == 2


def test_a_list_with_an_entry_for_each_layer_keeps_those_of_the_kept_layers():
    types = ["sliding_attention", "full_attention"] * 3
    text = json.dumps({"model_type": "qwen3", "num_hidden_layers": 6, "layer_types": types})
    assert json.loads(cut_config(text, (0, 3, 4)))["layer_types"] == [types[0], types[3], types[4]]


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
    after = AutoConfig.for_model(**json.loads(cut_config(text, kept)))
    assert after.layer_types == [before[layer] for layer in kept]
    assert len(set(after.layer_types)) == 2


def test_a_configuration_that_contradicts_itself_is_refused():
    text = json.dumps({"model_type": "llama", "num_hidden_layers": 6, "layer_types": ["full_attention"] * 5})
    with pytest.raises(UnsupportedModel, match="not one that transformers accepts"):
        cut_config(text, KEPT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "nope"}, "the architecture 'nope' is not one that transformers can load"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "the weights are quantised"),
        ({"model_type": "t5"}, "more than a text decoder"),
        ({"model_type": "llava"}, "more than a text decoder"),
        ({"num_hidden_layers": 7}, "under another name or not at all"),
        ({"intermediate_size": 65}, "the two do not belong together"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(tiny_models, tmp_path, changes, said):
    folder = tmp_path / "model"
    shutil.copytree(tiny_models("llama"), folder)
    edit_json(folder / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match=said) as caught:
        build_skeleton(folder)
    assert "\n" not in str(caught.value)


def test_a_model_whose_tensors_are_regrouped_on_loading_is_refused(tiny_models):
    with pytest.raises(UnsupportedModel, match="regrouped on loading"):
        build_skeleton(tiny_models("mixtral"))


def test_tensors_move_with_their_layer():
    position = {0: 0, 3: 1, 12: 2}
    assert renumber("model.layers.3.mlp.weight", "model.layers", position) == "model.layers.1.mlp.weight"
    assert renumber("model.layers.12.a", "model.layers", position) == "model.layers.2.a"
    assert renumber("model.layers.1.a", "model.layers", position) is None
    assert renumber("model.norm.weight", "model.layers", position) == "model.norm.weight"
    assert layer_of("model.layers.12.a", "model.layers") == 12
    assert layer_of("other.model.layers.12.a", "model.layers") is None
