"""Of the forms of bridge, the best on text that none was fitted on is kept, or none."""

from statistics import fmean

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.records import Bridge
from hf_prune.stages.bridge.choose import best_bridge, make_bridge
from hf_prune.stages.bridge.forms import FORMS
from hf_prune.stages.measure.ablation import Cut, try_cuts
from tests.support.cuts import CPU, WINDOWS, without
from tests.support.plain import plain_losses, plain_model, some_tokens, text_by, windows_of


def made(folder, cut, method, aside):
    decoder = open_decoder(folder, CPU)
    return decoder, *make_bridge(decoder, (WINDOWS, windows_of(aside)), cut.blocks, method, silent)


def test_auto_keeps_the_form_with_the_lowest_loss_and_records_all(trained_model):
    cut, aside = without(2, 3), text_by(plain_model(trained_model), 8, 40)
    decoder, bridge, solved = made(trained_model, cut, "auto", aside)
    tried = {}
    for method in (*FORMS, "scale"):
        _, alone, own = made(trained_model, cut, method, aside)
        (found,) = try_cuts(decoder, windows_of(aside), [Cut(cut.kept, own)], silent, "")
        assert (alone.method, alone.contest) == (method, None)
        tried[method] = (found.loss, found.divergence, own)
    best = min(tried, key=lambda method: tried[method][0])
    assert bridge.method == best
    assert all(torch.equal(solved[name], new) for name, new in tried[best][2].items())
    open_losses, open_divergences = plain_losses(plain_model(trained_model), aside, cut.kept)
    recorded = {trial.method: (trial.loss, trial.divergence) for trial in bridge.contest.trials}
    assert recorded.pop("none") == pytest.approx((fmean(open_losses), fmean(open_divergences)), rel=1e-3)
    assert recorded == {method: found[:2] for method, found in tried.items()}
    losses = [trial.loss for trial in bridge.contest.trials]
    assert losses == sorted(losses)
    assert bridge.contest.text.num_tokens == aside.numel()


def test_the_gap_stays_open_where_no_bridge_lowers_the_loss(trained_model):
    cut, aside = without(2, 3), windows_of(text_by(plain_model(trained_model), 8, 40))
    decoder = open_decoder(trained_model, CPU)
    name = "model.layers.1.mlp.down_proj.weight"
    fitted = [
        (Bridge(method=method, folded=(), reason=None), {name: factor * torch.ones(32, 64)})
        for method, factor in (("refit", 1.0), ("lstsq", 2.0))
    ]
    bridge, solved = best_bridge(decoder, aside, cut.blocks, fitted, silent)
    assert (bridge.method, solved) == ("none", {})
    assert bridge.contest.trials[0].method == "none"
    assert "every bridge raised the loss on 320 calibration tokens" in bridge.reason


def test_a_form_asked_for_by_name_is_kept_whatever_it_does(with_identity_layer):
    _, bridge, solved = made(with_identity_layer([3]), without(3), "refit", some_tokens(4, 40))
    assert (bridge.method, len(solved)) == ("refit", 1)


def test_a_family_that_can_carry_none_says_why(tiny_models):
    _, bridge, solved = made(tiny_models("gemma2"), without(3), "auto", some_tokens(4, 40))
    assert (bridge.method, bridge.contest, solved) == ("none", None, {})
    assert "no linear projection of gemma2's layer 2" in bridge.reason
