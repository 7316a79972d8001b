"""A model that answers as its first so many layers alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_prune.machine.progress import silent
from hf_prune.model.skeleton import build_skeleton
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.heal.depths import Depths

TOKENS = torch.arange(10, 34)[None]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "falcon", "mamba"])
def test_a_depth_computes_what_its_own_checkpoint_computes(
    family: str, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_models(family)
    kept = (0, 1, 2, 3)
    write_checkpoint(folder, tmp_path, kept=kept, variant="cut", replacements={}, progress=silent)
    shorter = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").eval()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    whole = model(TOKENS, use_cache=False).logits
    depths = Depths(model.get_submodule(build_skeleton(folder).layer_path))
    with torch.inference_mode():
        expected = shorter(TOKENS, use_cache=False).logits
        with depths.only(4):
            torch.testing.assert_close(model(TOKENS, use_cache=False).logits, expected)
        with depths.watched((4,)) as states:
            torch.testing.assert_close(model(TOKENS, use_cache=False).logits, whole)
        with depths.answering(states[4]):
            torch.testing.assert_close(model(TOKENS, use_cache=False).logits, expected)
        torch.testing.assert_close(model(TOKENS, use_cache=False).logits, whole)


def test_the_loss_of_a_shallow_depth_moves_its_layers_alone(tiny_models: Callable[..., Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_models("llama"), dtype="auto")
    depths = Depths(model.model.layers)
    with depths.watched((2,)) as states:
        model(TOKENS, use_cache=False)
    with depths.answering(states[2]):
        model(TOKENS, use_cache=False).logits.sum().backward()
    moved = [any(p.grad is not None for p in layer.parameters()) for layer in model.model.layers]
    assert moved == [True, True, False, False, False, False]
