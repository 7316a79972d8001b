"""A layer that ends in a norm: what stands before it can be fitted, so that the norm answers the target."""

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.activations import ActivationMemory, Activations
from hf_prune.model.decoder import open_decoder
from hf_prune.model.projections import additive_projections
from hf_prune.records.blocks import blocks_of
from hf_prune.stages.bridge.closing_norm import before_norm, closing_norm, targets_before
from hf_prune.stages.bridge.forms import REFIT
from hf_prune.stages.bridge.gaps import fit_bridges
from tests.support.encoders import some_inputs
from tests.support.plain import windows_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("family", "norm", "projections"),
    [
        ("bert", "output.LayerNorm", ("output.dense",)),
        ("distilbert", "output_layer_norm", ("ffn.lin2",)),
        ("vit", None, ()),
    ],
)
def test_the_norm_that_ends_a_layer_is_found_and_what_is_added_before_it(
    tiny_encoders, family, norm, projections
):
    decoder = open_decoder(tiny_encoders(family), CPU)
    entering, layer = decoder.enter(some_inputs(family == "vit")), decoder.skeleton.layers[1]
    with decoder.layer(1) as run:
        assert closing_norm(layer, run, entering[0]) == norm
        if norm is not None:
            assert additive_projections(layer, run, entering[0]) == ()
            assert additive_projections(layer, before_norm(layer, run, norm), entering[0]) == projections


def test_the_norm_answers_the_target_to_what_it_is_to_be_given(tiny_encoders):
    decoder = open_decoder(tiny_encoders("bert"), CPU)
    entering, layer = decoder.enter(some_inputs(images=False)), decoder.skeleton.layers[1]
    with decoder.layer(1) as run:
        target = Activations(ActivationMemory())
        target.append(run(0, entering[0].flip(1)))  # some states that the norm can answer
        inner = before_norm(layer, run, "output.LayerNorm")
        wanted = targets_before(layer, inner, "output.LayerNorm", entering, target)
        assert torch.allclose(layer.output.LayerNorm(wanted[0]), target[0], atol=1e-4)
        own = inner(0, entering[0])
        assert torch.allclose(wanted[0].mean(-1), own.mean(-1), atol=1e-5)
        assert torch.allclose(wanted[0].std(-1), own.std(-1), rtol=1e-4)


def test_a_gap_behind_such_a_layer_is_closed(tiny_encoders):
    decoder = open_decoder(tiny_encoders("bert"), CPU)
    windows = windows_of(some_inputs(images=False, count=40))
    ((bridge, solved),) = fit_bridges(decoder, windows, [(blocks_of((3, 4)), REFIT)], silent)
    (folded,) = bridge.folded
    assert folded.tensor == "bert.encoder.layer.2.output.dense.weight"
    assert folded.gap_repaired < 0.2 * folded.gap_unrepaired
    assert solved[folded.tensor].shape == (32, 64)
