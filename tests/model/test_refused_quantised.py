"""Quantised checkpoints: the refusal names the method, and the model to cut in its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from hf_prune.model.quantised import method_of
from tests.loopback import LoopbackHub
from tests.support.tool import hf_prune

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
    ("settings", "said"),
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
def test_the_method_is_named(settings: dict[str, Any], said: str) -> None:
    assert method_of(settings) == said


@pytest.mark.parametrize(
    ("card", "said"),
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
    home_hub: LoopbackHub, tmp_path: Path, card: str, said: str
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
            f"weights: {said}"
        )
    assert home_hub.calls_to("GET", "model.safetensors") == []
    assert not (tmp_path / "run").exists()
