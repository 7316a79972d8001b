"""The layers and their fields are found by structure; what cannot be cut is refused with the reason."""

import shutil

import pytest
from torch import nn
from transformers import LlamaConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.model.skeleton import build_skeleton, find_layers
from tests.support.plain import edit_json


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
    assert find_layers(model, LlamaConfig(num_hidden_layers=3)) == "layers"


@pytest.mark.parametrize(("lists", "paths"), [((4,), "none"), ((3, 3), "list0, list1")])
def test_no_list_or_two_of_that_length_are_refused(lists, paths):
    model = nn.Module()
    for number, count in enumerate(lists):
        setattr(model, f"list{number}", stack(count))
    with pytest.raises(UnsupportedModel, match=f"one list of 3 decoder layers; found: {paths}"):
        find_layers(model, LlamaConfig(num_hidden_layers=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "nope"}, "the architecture 'nope' is not one that transformers can load"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "the weights are quantised"),
        ({"model_type": "t5"}, "an encoder with a decoder"),
        ({"model_type": "vit"}, "has no causal language model"),
        ({"num_hidden_layers": 7}, r"no tensor of the checkpoint becomes llama's model\.layers\.6\."),
        ({"intermediate_size": 65}, "the two do not belong together"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(tiny_models, tmp_path, changes, message):
    folder = tmp_path / "model"
    shutil.copytree(tiny_models("llama"), folder)
    edit_json(folder / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match=message) as caught:
        build_skeleton(folder)
    assert "\n" not in str(caught.value)
