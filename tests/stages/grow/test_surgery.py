"""A grown checkpoint: it computes what it was grown from, and what is new can learn."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.grow.positions import AUTO, new_layers, positions_for
from hf_prune.stages.grow.silence import silencing
from hf_prune.stages.grow.surgery import write_grown
from tests.support.models import SETTINGS

TOKENS = torch.arange(10, 34)[None]


def grow(folder: Path, target: Path) -> tuple[int, ...]:
    """Write the grown model; the numbers of its new layers."""
    decoder = open_decoder(folder, torch.device("cpu"))
    after = positions_for(AUTO, decoder.num_layers)
    silenced = silencing(decoder, after)
    target.mkdir()
    write_grown(decoder.skeleton, target, after=after, silenced=silenced, progress=silent)
    return new_layers(after)


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_the_reloaded_grown_model_equals_its_original_to_the_last_bit(
    family: str, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_models(family)
    new = grow(folder, tmp_path / "grown")
    before = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "grown", dtype="auto").eval()
    assert after.config.num_hidden_layers == before.config.num_hidden_layers + len(new)
    with torch.inference_mode():
        assert torch.equal(after(TOKENS).logits, before(TOKENS).logits)
        settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
        assert torch.equal(after.generate(TOKENS, **settings), before.generate(TOKENS, **settings))


@pytest.mark.parametrize("family", ["llama", "gemma2", "mixtral", "gpt2"])
def test_every_branch_of_a_new_layer_has_a_gradient_to_begin_with(
    family: str, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_models(family)
    (number,) = grow(folder, tmp_path / "grown")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "grown", dtype="auto")
    decoder = open_decoder(tmp_path / "grown", torch.device("cpu"))
    layer = model.get_submodule(f"{decoder.skeleton.layer_path}.{number}")
    model(TOKENS, labels=TOKENS).loss.backward()
    moving = [name for name, p in layer.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert any("attn" in name or "attention" in name for name in moving)
    assert any("mlp" in name or "feedforward" in name or "moe" in name for name in moving)


def test_a_new_layer_is_the_mean_of_its_neighbours_but_for_what_silences_it(
    tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_models("llama")
    (number,) = grow(folder, tmp_path / "grown")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "grown/model.safetensors")
    gate = "model.layers.{}.mlp.gate_proj.weight"
    assert torch.equal(after[gate.format(number)], (before[gate.format(1)] + before[gate.format(2)]) / 2)
    for silenced in ("self_attn.o_proj", "mlp.down_proj"):
        assert not after[f"model.layers.{number}.{silenced}.weight"].any()
    for old, new in ((0, 0), (1, 1), (2, 3), (5, 6)):
        assert torch.equal(after[gate.format(new)], before[gate.format(old)])
