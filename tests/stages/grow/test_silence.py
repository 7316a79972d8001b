"""The values that silence a layer: with them it passes its input on, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hf_prune.errors import UnsupportedModel
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.grow.silence import silencing

CPU = torch.device("cpu")
TOKENS = torch.arange(10, 34)[None]


@pytest.mark.parametrize(
    ("family", "silenced"),
    [
        ("llama", {"self_attn.o_proj.weight": 0.0, "mlp.down_proj.weight": 0.0}),
        (
            "gemma2",
            {"post_attention_layernorm.weight": -1.0, "post_feedforward_layernorm.weight": -1.0},
        ),
    ],
)
def test_a_silenced_layer_passes_its_input_on(
    family: str, silenced: dict[str, float], tiny_models: Callable[..., Path]
) -> None:
    decoder = open_decoder(tiny_models(family), CPU)
    values = silencing(decoder, [1])[1]
    assert values == {f"model.layers.1.{name}": value for name, value in silenced.items()}
    entering = decoder.enter(TOKENS)[0]
    tensors = decoder.skeleton.index.tensors
    with decoder.layer(1, {name: torch.full(tensors[name].shape, v) for name, v in values.items()}) as run:
        assert torch.equal(run(0, entering), entering)


def test_refuses_a_layer_that_no_zeros_silence(tiny_models: Callable[..., Path]) -> None:
    decoder = open_decoder(tiny_models("llama"), CPU)
    decoder.skeleton.layers[1].mlp.register_forward_hook(lambda mlp, entering, output: output + 1)
    with pytest.raises(UnsupportedModel, match="llama cannot grow"):
        silencing(decoder, [1])
