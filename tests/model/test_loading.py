"""Tensors on disk become parameters by transformers' own rules, and belong to the same layers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_prune.errors import UnsupportedModel
from hf_prune.model.skeleton import build_skeleton
from tests.support.families import build
from tests.support.plain import plain_model


def layers_of(skeleton) -> dict[str, int]:
    return {name: number.layer for name, number in skeleton.layer_numbers.items()}


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt2", "dbrx", "bart"])
def test_the_parameters_are_those_that_transformers_loads(tmp_path, family):
    build(family, tmp_path)
    skeleton, plain = build_skeleton(tmp_path), plain_model(tmp_path)
    parameters = {}
    for conversion in skeleton.conversions:
        parameters |= conversion.convert(skeleton.model, lambda name: skeleton.index.tensors[name].read())
    for name, value in plain.state_dict().items():
        assert torch.equal(parameters[skeleton.source_parameter(name)], value)


def test_the_number_of_an_expert_is_not_taken_for_that_of_its_layer(tmp_path):
    build("mixtral", tmp_path)
    layers = layers_of(build_skeleton(tmp_path))
    assert layers["model.layers.1.block_sparse_moe.experts.3.w1.weight"] == 1
    assert layers["model.layers.3.block_sparse_moe.experts.1.w1.weight"] == 3
    assert "lm_head.weight" not in layers


def test_a_tensor_that_only_one_layer_has_belongs_to_it(tmp_path):
    build("deepseek_v3", tmp_path)
    edit = json.loads((tmp_path / "config.json").read_text())
    assert edit["first_k_dense_replace"] != edit["num_hidden_layers"]
    skeleton = build_skeleton(tmp_path)
    for name, layer in layers_of(skeleton).items():
        assert name.startswith(f"model.layers.{layer}.")


def test_a_tensor_that_the_model_does_not_use_belongs_to_its_layer_too(tiny_models, tmp_path):
    weights = load_file(tiny_models("llama") / "model.safetensors")
    weights["model.layers.3.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    weights["model.layers.6.eh_proj.weight"] = torch.ones(2, 2)  # it predicts a further token
    (tmp_path / "config.json").write_text((tiny_models("llama") / "config.json").read_text())
    save_file(weights, tmp_path / "model.safetensors")
    skeleton = build_skeleton(tmp_path)
    assert layers_of(skeleton)["model.layers.3.self_attn.rotary_emb.inv_freq"] == 3
    assert layers_of(skeleton)["model.layers.6.eh_proj.weight"] == 6
    assert "model.layers.6.eh_proj.weight" in skeleton.unused


def test_experts_that_do_not_fit_together_are_refused(tmp_path):
    build("mixtral", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.2.block_sparse_moe.experts.1.w2.weight"] = torch.ones(3, 3)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedModel, match=r"cannot make model\.layers\.2\.mlp\.experts\.down_proj of"):
        build_skeleton(tmp_path)


def test_tied_names_share_the_tensor_of_the_one_that_is_stored(tmp_path):
    build("gemma2", tmp_path)
    skeleton = build_skeleton(tmp_path)
    assert skeleton.source_parameter("lm_head.weight") == "model.embed_tokens.weight"
    assert skeleton.source_parameter("no.such.parameter") is None
