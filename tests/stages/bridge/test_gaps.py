"""Bridges go where they can, see the pruned model's own stream, and bring it nearer to the original's."""

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.records import Block
from hf_prune.records.blocks import blocks_of
from hf_prune.stages.bridge.forms import FORMS, TRIAL
from hf_prune.stages.bridge.gaps import fit_bridges
from tests.support.cuts import CPU, TOKENS, WINDOWS, build, distance_to_original, without
from tests.support.plain import boundaries, plain_model

RELAY = FORMS["relay"]
LAST = {"llama": "mlp.down_proj", "gpt2": "mlp.c_proj", "opt": "fc2", "phi": "mlp.fc2"}
BOTH = {
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "opt": ("self_attn.out_proj", "fc2"),
    "phi": ("self_attn.dense", "mlp.fc2"),
}


def test_the_gap_on_the_card_is_what_is_really_left(tiny_models):
    folder, cut = tiny_models("llama"), without(3)
    decoder, bridge, solved = build(folder, cut)
    target = boundaries(plain_model(folder), TOKENS)[4][:, 1:].square().mean().item()
    (folded,) = bridge.folded
    before = distance_to_original(decoder, folder, cut, {})
    after = distance_to_original(decoder, folder, cut, solved)
    assert folded.gap_unrepaired == pytest.approx(before / target, rel=1e-4)
    assert folded.gap_repaired == pytest.approx(after / target, rel=1e-3)
    assert folded.num_tokens == TOKENS.numel()


@pytest.mark.parametrize("family", LAST)
@pytest.mark.parametrize("removed", [(3, 4), (1, 3, 4)])
@pytest.mark.parametrize("form", ["lstsq", "refit"])
def test_a_bridge_brings_the_stream_nearer_to_the_original(tiny_models, family, removed, form):
    folder, cut = tiny_models(family), without(*removed)
    decoder, bridge, solved = build(folder, cut, FORMS[form])
    assert bridge.method == form
    assert len(solved) == len(cut.blocks)
    assert all(folded.tensor.endswith(f"{LAST[family]}.weight") for folded in bridge.folded)
    before = distance_to_original(decoder, folder, cut, {})
    assert distance_to_original(decoder, folder, cut, solved) < 0.98 * before


@pytest.mark.parametrize("family", BOTH)
def test_a_relay_refits_every_projection_of_the_layers_after_the_gap(tiny_models, family):
    folder, cut = tiny_models(family), without(1, 2)
    decoder, bridge, solved = build(folder, cut, RELAY)
    wanted = [(0, LAST[family]), *((layer, name) for layer in (3, 4, 5) for name in BOTH[family])]
    assert [f.layer for f in bridge.folded] == [layer for layer, _ in wanted]
    names = zip(bridge.folded, wanted, strict=True)
    assert all(f.tensor.endswith(f".{layer}.{name}.weight") for f, (layer, name) in names)
    first = {name: new for name, new in solved.items() if ".0." in name}
    for boundary in (4, 5, 6):
        alone = distance_to_original(decoder, folder, cut, first, boundary)
        assert distance_to_original(decoder, folder, cut, solved, boundary) < 0.98 * alone


def test_a_relay_ends_where_the_next_gap_or_the_model_does(tiny_models):
    _, bridge, _ = build(tiny_models("llama"), without(1, 4), RELAY)
    assert [(str(f.block), f.layer) for f in bridge.folded] == [
        *(("1", layer) for layer in (0, 2, 2)),
        *(("4", layer) for layer in (3, 5, 5)),
    ]


def test_a_later_bridge_is_fitted_on_the_pruned_stream(tiny_models):
    """Of two bridges, the second must know what the first left behind: alone it has other weights."""
    folder = tiny_models("llama")
    _, _, both = build(folder, without(1, 4))
    _, _, alone = build(folder, without(4))
    second = "model.layers.3.mlp.down_proj.weight"
    assert not torch.allclose(both[second], alone[second], atol=1e-3)


def test_several_cuts_get_the_bridges_that_each_gets_alone(tiny_models):
    cuts = [(3, 4), (1, 3, 4), (0, 3), (2,), (5,), (1, 2, 4)]
    wanted = [(blocks_of(cut), form) for cut in cuts for form in (TRIAL, RELAY)]
    decoder = open_decoder(tiny_models("llama"), CPU)
    together = fit_bridges(decoder, WINDOWS, wanted, silent)
    assert len(together) == len(wanted)
    for each, (bridge, solved) in zip(wanted, together, strict=True):
        ((alone, own),) = fit_bridges(decoder, WINDOWS, [each], silent)
        assert bridge == alone
        assert solved.keys() == own.keys()
        assert all(torch.equal(solved[name], own[name]) for name in own)


@pytest.mark.parametrize("form", FORMS)
def test_where_no_layer_is_removed_a_bridge_is_the_identity(tiny_models, form):
    decoder = open_decoder(tiny_models("llama"), CPU)
    wanted = [((Block(start=3, end=3),), FORMS[form]), ((), FORMS[form])]
    (bridge, solved), (nothing, none) = fit_bridges(decoder, WINDOWS, wanted, silent)
    assert len(bridge.folded) == (7 if form == "relay" else 1)
    noise = 1e-3 if form == "cosine" else 1e-7  # Adam steps by its learning rate even where it has arrived
    for name, new in solved.items():
        torch.testing.assert_close(new, decoder.skeleton.index.tensors[name].read(), rtol=0, atol=noise)
    assert (nothing.method, none) == ("none", {})


@pytest.mark.parametrize("family", ["gemma2", "olmo2"])
@pytest.mark.parametrize("form", FORMS)
def test_a_norm_after_the_projection_leaves_no_place_for_a_bridge(tiny_models, family, form):
    _, bridge, solved = build(tiny_models(family), without(3), FORMS[form])
    assert (bridge.method, solved) == ("none", {})
    assert "reaches its output unchanged" in bridge.reason


def test_a_gap_at_the_very_start_stays_open_and_says_so(tiny_models):
    _, bridge, solved = build(tiny_models("llama"), without(0, 1))
    assert (bridge.method, solved) == ("none", {})
    assert "nothing comes before layer 0" in bridge.reason
    _, bridge, _ = build(tiny_models("llama"), without(0, 3))
    assert [folded.layer for folded in bridge.folded] == [2]
    assert "0" in bridge.reason


def test_after_a_gap_each_projection_is_fitted_to_where_the_originals_stream_was_after_it(tiny_models):
    folder = tiny_models("llama")
    _, bridge, solved = build(folder, without(2), RELAY)
    original, pruned = plain_model(folder), plain_model(folder)
    name = "model.layers.1.mlp.down_proj.weight"
    pruned.get_parameter(name).data.copy_(solved[name])
    del pruned.model.layers[2]
    after, inner = [], []
    for model, layer in ((original, original.model.layers[3]), (pruned, pruned.model.layers[2])):
        norm = layer.post_attention_layernorm
        norm.register_forward_pre_hook(lambda _, inputs: after.append(inputs[0].detach().double()))
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, x: inner.append(x[0].detach().double()))
        model(input_ids=TOKENS, use_cache=False)
    missing, rows = (after[0] - after[1]).flatten(0, 1), inner[1].flatten(0, 1)
    ridge = bridge.folded[1].ridge * inner[1][:, 1:].flatten(0, 1).square().sum(0).mean()
    correction = torch.linalg.solve(rows.T @ rows + ridge * torch.eye(32), rows.T @ missing).T
    projection = original.model.layers[3].self_attn.o_proj.weight
    new = solved["model.layers.3.self_attn.o_proj.weight"]
    torch.testing.assert_close(new, (projection + correction).float(), rtol=0, atol=1e-4)
