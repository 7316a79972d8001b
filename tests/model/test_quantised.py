"""Quantised checkpoints whose layers move by name: cut as they are stored, computed in full precision."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_prune.machine.progress import silent
from hf_prune.model.anatomy import describe
from hf_prune.model.decoder import open_decoder
from hf_prune.model.proof import check_streaming, expected_logits, prove
from hf_prune.model.skeleton import build_skeleton
from hf_prune.records import Block
from hf_prune.stages.bridge.forms import FORMS
from hf_prune.stages.bridge.gaps import fit_bridges
from tests.stages.cut.test_checkpoint import cut
from tests.support.families import build
from tests.support.models import store_as_fp8, store_as_mxfp4
from tests.support.plain import some_tokens, windows_of

CPU = torch.device("cpu")
KEPT = (0, 2, 5)
TOKENS = some_tokens(2, 24)
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers would rather have a GPU


@pytest.fixture
def fp8(tiny_models, tmp_path) -> Path:
    folder = tmp_path / "fp8"
    shutil.copytree(tiny_models("llama", dtype=torch.bfloat16), folder)
    store_as_fp8(folder, ("model.layers.2.self_attn.o_proj", "model.layers.3.mlp.up_proj", "lm_head"))
    return folder


@pytest.fixture
def mxfp4(tmp_path) -> Path:
    build("gpt_oss", tmp_path / "mxfp4")
    store_as_mxfp4(tmp_path / "mxfp4")
    return tmp_path / "mxfp4"


@pytest.mark.parametrize("form", ["fp8", "mxfp4"])
def test_a_quantised_checkpoint_is_cut_and_proved(form, request, tmp_path):
    source = request.getfixturevalue(form)
    decoder = open_decoder(source, CPU)
    check_streaming(decoder, TOKENS)
    cut(source, tmp_path / "cut", KEPT)
    proof = prove(tmp_path / "cut", "cut", TOKENS, expected_logits(decoder, TOKENS, KEPT, {}), decoder)
    assert all(check.passed for check in proof.checks)


@pytest.mark.parametrize("form", ["fp8", "mxfp4"])
def test_quantised_tensors_keep_their_bytes(form, request, tmp_path):
    source = request.getfixturevalue(form)
    cut(source, tmp_path / "cut", KEPT)
    before, after = (load_file(path / "model.safetensors") for path in (source, tmp_path / "cut"))
    packed = [name for name, value in after.items() if value.element_size() == 1 or "scale" in name]
    assert packed
    for name in packed:
        layer = name.split(".")[2]
        original = before[name.replace(f".{layer}.", f".{KEPT[int(layer)]}.", 1)]
        assert torch.equal(after[name].view(torch.uint8), original.view(torch.uint8))


def test_what_stays_in_full_precision_is_named_after_the_cut(fp8, tmp_path):
    cut(fp8, tmp_path / "cut", KEPT)
    quantization = json.loads((tmp_path / "cut" / "config.json").read_text())["quantization_config"]
    assert quantization["modules_to_not_convert"] == ["model.layers.1.self_attn.o_proj", "lm_head"]
    assert quantization["weight_block_size"] == [16, 16]


def test_a_quantised_model_has_the_parameters_of_the_full_one(fp8, mxfp4, tiny_models):
    assert (
        describe(build_skeleton(fp8)).parameters == describe(build_skeleton(tiny_models("llama"))).parameters
    )
    for folder in (fp8, mxfp4):
        skeleton = build_skeleton(folder)
        total = sum(parameter.numel() for parameter in skeleton.model.parameters())
        assert describe(skeleton).parameters == total
        assert sum(describe(skeleton).parameters_per_layer) < total


def test_a_quantised_projection_carries_no_bridge_and_the_reason_is_said(fp8):
    decoder = open_decoder(fp8, CPU)
    wanted = [((Block(start=2, end=4),), FORMS["relay"])]
    ((bridge, solved),) = fit_bridges(decoder, windows_of(TOKENS), wanted, silent)
    assert solved == {}
    assert "is not stored as it is used" in bridge.reason
