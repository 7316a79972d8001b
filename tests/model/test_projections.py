"""What writes to the stream is found by what it does."""

import pytest
import torch

from hf_prune.model.decoder import open_decoder
from hf_prune.model.projections import additive_projections
from tests.support.cuts import CPU, TOKENS


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("llama", ("self_attn.o_proj", "mlp.down_proj")),
        ("gpt2", ("attn.c_proj", "mlp.c_proj")),
        ("opt", ("self_attn.out_proj", "fc2")),
        ("phi", ("self_attn.dense", "mlp.fc2")),
        ("gemma2", ()),
        ("olmo2", ()),
        ("mixtral", ()),
    ],
)
@torch.inference_mode()
def test_the_projections_that_add_to_the_stream_are_found(tiny_models, family, names):
    decoder = open_decoder(tiny_models(family), CPU)
    hidden = decoder.enter(TOKENS)
    with decoder.layer(0) as run:
        assert additive_projections(decoder.skeleton.layers[0], run, hidden[0]) == names
        again = run(0, hidden[0])
    with decoder.layer(0) as run:
        assert torch.equal(run(0, hidden[0]), again)  # nothing of the trials is left in the layer
