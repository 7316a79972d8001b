"""The figures of a checkpoint come from its headers and its configuration."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_prune.errors import UnsupportedModel
from hf_prune.model.anatomy import describe, torch_dtype
from hf_prune.model.skeleton import build_skeleton

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_the_figures_come_from_the_headers(tiny_models):
    skeleton = build_skeleton(tiny_models("llama"))
    anatomy = describe(skeleton)
    assert anatomy.parameters == sum(parameter.numel() for parameter in skeleton.model.parameters())
    assert len(set(anatomy.parameters_per_layer)) == 1
    assert anatomy.size_bytes == 4 * anatomy.parameters
    assert (anatomy.dtype, anatomy.tied_embeddings, anatomy.layer_path) == ("F32", False, "model.layers")
    assert anatomy.key_value_bytes_per_token == 2 * 6 * 2 * 8 * 4


@pytest.mark.parametrize(
    ("stored", "device", "computed"),
    [
        ("F32", CPU, torch.float32),
        ("F16", CPU, torch.float32),  # half precision overflows there
        ("F16", GPU, torch.float16),
        ("BF16", CPU, torch.bfloat16),
        ("F8_E4M3", CPU, torch.bfloat16),
    ],
)
def test_the_dtype_to_compute_in_follows_from_the_stored_one(stored, device, computed):
    assert torch_dtype(stored, device) == computed


def test_layers_stored_as_integers_are_refused(tiny_models, tmp_path):
    weights = load_file(tiny_models("llama") / "model.safetensors")
    save_file({name: value.to(torch.int8) for name, value in weights.items()}, tmp_path / "model.safetensors")
    shutil.copy(tiny_models("llama") / "config.json", tmp_path)
    with pytest.raises(UnsupportedModel, match="the layers are stored as I8"):
        describe(build_skeleton(tmp_path))
