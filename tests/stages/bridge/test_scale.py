"""Scaling closes a gap in magnitude, and only where that is the same as scaling the stream."""

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.model.proof import expected_logits
from hf_prune.records import Block
from hf_prune.stages.bridge.scale import fit_scale
from tests.support.cuts import CPU, TOKENS, WINDOWS, without
from tests.support.plain import boundaries, layers_of, plain_model

FEW = TOKENS[:16]  # as many windows as the mean is taken over


def scaled(folder, cut):
    decoder = open_decoder(folder, CPU)
    return decoder, *fit_scale(decoder, WINDOWS, cut.blocks, silent)


@torch.no_grad()
def logits_with_the_stream_scaled(model, cut, factors):
    """Prune&Comp by its definition: at the end of each gap the stream itself is multiplied."""
    handles = []
    for number, layer in enumerate(layers_of(model)):
        end = next((block.end for block in cut.blocks if block.start <= number < block.end), None)
        if end is not None:
            factor = factors[end] if number == end - 1 else 1.0

            def skip(_, arguments, keywords, output, factor=factor):
                hidden = (arguments[0] if arguments else keywords["hidden_states"]) * factor
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handles.append(layer.register_forward_hook(skip, with_kwargs=True))
    logits = model(input_ids=FEW, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "phi"])
@pytest.mark.parametrize("removed", [(2, 3), (1, 3)])
def test_dividing_what_follows_is_multiplying_the_stream_at_each_gap(tiny_models, family, removed):
    folder, cut = tiny_models(family), without(*removed)
    decoder, bridge, solved = scaled(folder, cut)
    products = {folded.block.end: 1 / folded.factor for folded in bridge.folded}
    factors, before = {}, 1.0
    for end in sorted(products):
        factors[end], before = products[end] / before, products[end]
    assert all(abs(factor - 1) > 0.005 for factor in factors.values())
    got = expected_logits(decoder, FEW, cut.kept, solved)
    expected = logits_with_the_stream_scaled(plain_model(folder), cut, factors)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-3 * expected.abs().max().item())


def test_the_factor_is_the_mean_ratio_of_magnitudes_without_position_0(tiny_models):
    folder = tiny_models("llama")
    _, bridge, solved = scaled(folder, without(2, 3))
    states = [state[:16, 1:] for state in boundaries(plain_model(folder), TOKENS)]
    ratio = (states[4].norm(dim=-1) / states[2].norm(dim=-1)).mean().item()
    assert all(1 / folded.factor == pytest.approx(ratio, rel=1e-4) for folded in bridge.folded)
    weight = plain_model(folder).model.layers[4].self_attn.o_proj.weight
    torch.testing.assert_close(solved["model.layers.4.self_attn.o_proj.weight"], weight / ratio)
    assert bridge.folded[0].gap_unrepaired == pytest.approx(
        ((states[4] - states[2]).square().sum() / states[4].square().sum()).item(), rel=1e-4
    )
    assert bridge.folded[0].gap_repaired == pytest.approx(
        ((states[4] - ratio * states[2]).square().sum() / states[4].square().sum()).item(), rel=1e-4
    )


def test_biases_are_scaled_with_their_weights(tiny_models):
    _, bridge, solved = scaled(tiny_models("gpt2"), without(4))
    assert {name.rpartition(".")[2] for name in solved} == {"weight", "bias"}
    assert sorted(folded.tensor for folded in bridge.folded) == sorted(solved)


@pytest.mark.parametrize("family", ["gemma2", "olmo2", "mixtral"])
def test_where_scaling_is_no_equivalence_it_is_refused(tiny_models, family):
    _, bridge, solved = scaled(tiny_models(family), without(2))
    assert (bridge.method, solved) == ("none", {})
    assert f"{family}'s layer 3 adds to the stream cannot be scaled" in bridge.reason


def test_before_the_final_norm_alone_there_is_nothing_to_scale(tiny_models):
    _, bridge, solved = scaled(tiny_models("llama"), without(4, 5))
    assert (bridge.method, solved) == ("none", {})
    assert "final norm" in bridge.reason


def test_where_no_layer_is_removed_nothing_is_scaled(tiny_models):
    decoder = open_decoder(tiny_models("llama"), CPU)
    bridge, solved = fit_scale(decoder, WINDOWS, (Block(start=3, end=3),), silent)
    assert {folded.factor for folded in bridge.folded} == {1.0}
    for name, new in solved.items():
        assert torch.equal(new, decoder.skeleton.index.tensors[name].read())
    assert fit_scale(decoder, WINDOWS, (), silent)[1] == {}
