"""The bridge is the ridge solution it says it is, goes where it can, and helps."""

from dataclasses import dataclass

import pytest
import torch

from hf_prune import bridge as bridging
from hf_prune.bridge import RIDGE, additive_projection, build_bridges
from hf_prune.choose.blocks import blocks_of
from hf_prune.decoder import open_decoder, run_layers
from hf_prune.progress import silent
from tests.plain import boundaries, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")
TOKENS = some_tokens(24, 40)


@dataclass(frozen=True)
class Without:
    """A cut of a model of six layers."""

    removed: tuple[int, ...]

    @property
    def blocks(self):
        return blocks_of(self.removed)

    @property
    def kept(self):
        return tuple(layer for layer in range(6) if layer not in self.removed)


def plan_without(*removed):
    return Without(removed)


def build(folder, plan):
    decoder = open_decoder(folder, CPU)
    return decoder, *build_bridges(decoder, windows_of(TOKENS), [plan.blocks], silent)[0]


def distance_to_original(decoder, folder, plan, replacements):
    """Mean squared distance after the last gap, position 0 left out, from the plain model's own states."""
    end = plan.blocks[-1].end
    kept = [layer for layer in plan.kept if layer < end]
    reached = torch.cat(list(run_layers(decoder, decoder.enter(TOKENS), kept, replacements)))
    wanted = boundaries(plain_model(folder), TOKENS)[end]
    return (reached - wanted)[:, 1:].square().mean().item()


def test_the_correction_solves_the_ridge_problem(tiny_models):
    folder = tiny_models("llama")
    _, bridge, solved = build(folder, plan_without(3, 4))
    model = plain_model(folder)
    projection = model.model.layers[2].mlp.down_proj
    inner = []
    handle = projection.register_forward_pre_hook(lambda _, inputs: inner.append(inputs[0]))
    states = boundaries(model, TOKENS)
    handle.remove()
    rows = inner[0].detach().flatten(0, 1).double()
    wanted = (states[5] - states[3]).flatten(0, 1).double()
    ordinary = inner[0][:, 1:].detach().flatten(0, 1).double()
    penalty = (RIDGE * ordinary.square().sum(0).mean()).sqrt()
    stacked = torch.cat([rows, penalty * torch.eye(64, dtype=torch.float64)])  # ridge as extra rows
    targets = torch.cat([wanted, torch.zeros(64, 32, dtype=torch.float64)])
    correction = torch.linalg.lstsq(stacked, targets).solution.T
    (name,) = solved
    assert name == "model.layers.2.mlp.down_proj.weight"
    torch.testing.assert_close(solved[name], (projection.weight + correction).float(), rtol=0, atol=1e-4)
    assert (bridge.method, bridge.folded[0].layer, bridge.reason) == ("refit", 2, None)


def test_the_gap_on_the_card_is_what_is_really_left(tiny_models):
    folder = tiny_models("llama")
    decoder, bridge, solved = build(folder, plan_without(3))
    target = boundaries(plain_model(folder), TOKENS)[4][:, 1:].square().mean().item()
    folded = bridge.folded[0]
    plan = plan_without(3)
    assert folded.gap_unrepaired == pytest.approx(
        distance_to_original(decoder, folder, plan, {}) / target, rel=1e-4
    )
    assert folded.gap_repaired == pytest.approx(
        distance_to_original(decoder, folder, plan, solved) / target, rel=1e-3
    )


@pytest.mark.parametrize(
    ("family", "projection"),
    [("llama", "mlp.down_proj"), ("gpt2", "mlp.c_proj"), ("opt", "fc2"), ("phi", "mlp.fc2")],
)
@pytest.mark.parametrize("removed", [(3, 4), (1, 3, 4)])
def test_a_bridge_brings_the_stream_nearer_to_the_original(tiny_models, family, projection, removed):
    folder, plan = tiny_models(family), plan_without(*removed)
    decoder, bridge, solved = build(folder, plan)
    assert len(solved) == len(plan.blocks)
    assert all(folded.tensor.endswith(f"{projection}.weight") for folded in bridge.folded)
    before = distance_to_original(decoder, folder, plan, {})
    assert distance_to_original(decoder, folder, plan, solved) < 0.95 * before


def test_a_later_bridge_is_fitted_on_the_pruned_stream(tiny_models):
    """Of two bridges, the second must know what the first left behind: alone it has other weights."""
    folder = tiny_models("llama")
    _, _, both = build(folder, plan_without(1, 4))
    _, _, alone = build(folder, plan_without(4))
    second = "model.layers.3.mlp.down_proj.weight"
    assert not torch.allclose(both[second], alone[second], atol=1e-3)


def test_several_cuts_get_the_bridges_that_each_gets_alone(tiny_models):
    folder, cuts = tiny_models("llama"), [(3, 4), (1, 3, 4), (0, 3), (2,), (5,), (1, 2, 4)]
    decoder = open_decoder(folder, CPU)
    together = build_bridges(decoder, windows_of(TOKENS), [blocks_of(cut) for cut in cuts], silent)
    assert len(together) == len(cuts)
    for cut, (bridge, solved) in zip(cuts, together, strict=True):
        _, alone, own = build(folder, plan_without(*cut))
        assert bridge == alone
        assert solved.keys() == own.keys()
        assert all(torch.equal(solved[name], own[name]) for name in own)


@pytest.mark.parametrize("family", ["gemma2", "olmo2"])
def test_a_norm_after_the_projection_leaves_no_place_for_a_bridge(tiny_models, family):
    _, bridge, solved = build(tiny_models(family), plan_without(3))
    assert (bridge.method, solved) == ("none", {})
    assert "reaches its output unchanged" in bridge.reason


def test_a_gap_at_the_very_start_stays_open_and_says_so(tiny_models):
    _, bridge, solved = build(tiny_models("llama"), plan_without(0, 1))
    assert (bridge.method, solved) == ("none", {})
    assert "nothing comes before layer 0" in bridge.reason
    _, bridge, _ = build(tiny_models("llama"), plan_without(0, 3))
    assert [folded.layer for folded in bridge.folded] == [2]
    assert "0" in bridge.reason


@torch.inference_mode()
def test_the_projection_is_found_by_what_it_does_and_not_by_its_name(tiny_models):
    decoder = open_decoder(tiny_models("llama"), CPU)
    hidden = decoder.enter(TOKENS)
    with decoder.layer(0) as run:
        assert additive_projection(decoder.skeleton.layers[0], run, hidden[0]) == "mlp.down_proj"


def test_the_attention_sink_is_made_by_the_bridge_where_the_layer_that_made_it_goes():
    state = torch.randn(24, 40, 32)
    inner = torch.randn(24, 40, 64)
    inner[:, 0] = torch.nn.functional.one_hot(torch.tensor(7), 64) * 30.0  # a direction of its own
    target = state + 0.1 * torch.randn(24, 40, 32)
    target[:, 0, 5] += 1000.0  # the removed layers make a sink, as layer 11 of SmolLM2 does
    equations = bridging._NormalEquations(
        inner=torch.zeros(64, 64, dtype=torch.float64), cross=torch.zeros(32, 64, dtype=torch.float64)
    )
    equations.add(inner, state, target)
    moved = equations.solve(RIDGE) @ inner[0, 0].double()
    assert moved[5] == pytest.approx(1000.0, rel=0.1)
