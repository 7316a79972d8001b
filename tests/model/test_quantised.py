"""Quantised checkpoints: cut as they are stored if layers move by name, else refused with their method."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hf_prune.machine.progress import silent
from hf_prune.model.anatomy import describe
from hf_prune.model.decoder import open_decoder
from hf_prune.model.proof import check_streaming, expected_logits, prove
from hf_prune.model.quantised import method_of
from hf_prune.model.skeleton import build_skeleton
from hf_prune.records import Block
from hf_prune.stages.bridge.forms import FORMS
from hf_prune.stages.bridge.gaps import fit_bridges
from tests.loopback import LoopbackHub
from tests.stages.cut.test_checkpoint import cut
from tests.support.families import build
from tests.support.models import store_as_fp8, store_as_mxfp4
from tests.support.plain import some_tokens, windows_of
from tests.support.tool import hf_prune

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


def test_modules_in_full_precision_are_listed_under_their_new_numbers(fp8, tmp_path):
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


def test_a_quantised_projection_carries_no_bridge_and_the_record_says_why(fp8):
    decoder = open_decoder(fp8, CPU)
    cuts = [((Block(start=2, end=4),), FORMS["relay"])]
    ((bridge, solved),) = fit_bridges(decoder, windows_of(TOKENS), cuts, silent)
    assert solved == {}
    assert "is not stored as it is used" in bridge.reason


# Refused

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 8}}},
}
TORCHAO = {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}


def quantised_model(settings: dict[str, Any], card: str) -> dict[str, bytes]:
    """The files of a quantised model."""
    config = {"model_type": "llama", "num_hidden_layers": 6, "quantization_config": settings}
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": b"x",
        "README.md": f"---\n{card}\n---\n# Tiny\n".encode(),
    }


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        (GPTQ, "GPTQ, 4-bit"),
        ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "AWQ, 4-bit"),
        ({"quant_method": "awq", "w_bit": 3}, "AWQ, 3-bit"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False},
            "bitsandbytes, 4-bit",
        ),
        ({"load_in_8bit": True}, "bitsandbytes, 8-bit"),
        (COMPRESSED, "compressed-tensors, 8-bit"),
        (TORCHAO, "torchao, Int4WeightOnlyConfig"),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "torchao, int4_weight_only"),
        ({"quant_method": "quanto", "weights": "int8"}, "quanto, int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt, NVFP4"),
        ({"quant_method": "of tomorrow", "config_groups": {}, "quant_type": {}}, "of tomorrow"),
        ({"group_size": 64}, "method not stated"),
    ],
)
def test_the_method_is_named(settings: dict[str, Any], method: str) -> None:
    assert method_of(settings) == method


@pytest.mark.parametrize(
    ("card", "advice"),
    [
        ("base_model: acme/whole", "name acme/whole, which its card gives as its base model, instead"),
        ("base_model:\n- acme/whole", "name acme/whole, which its card gives as its base model, instead"),
        (
            "base_model:\n- acme/one\n- acme/two",
            "name the repository that this model was quantised from instead",
        ),
        ("license: mit", "name the repository that this model was quantised from instead"),
    ],
    ids=["one", "a list of one", "several", "none"],
)
def test_the_base_model_is_named_where_the_card_states_it(
    home_hub: LoopbackHub, tmp_path: Path, card: str, advice: str
) -> None:
    files = quantised_model(GPTQ, card)
    home_hub.add_repository("acme/packed", files)
    folder = tmp_path / "packed"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for model in ("acme/packed", str(folder)):
        outcome = hf_prune(model, "--output", str(tmp_path / "run"))
        assert outcome.code == 1
        assert outcome.error() == (
            f"hf-prune: the weights are quantised (GPTQ, 4-bit), and layers are cut from full-precision "
            f"weights: {advice}"
        )
    assert home_hub.calls_to("GET", "model.safetensors") == []
    assert not (tmp_path / "run").exists()
