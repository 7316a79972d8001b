"""Trials of cuts: the losses of each cut with its own bridge, on a part of the windows."""

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.records.blocks import all_but, blocks_of
from hf_prune.stages.bridge.forms import TRIAL
from hf_prune.stages.bridge.gaps import fit_bridges
from hf_prune.stages.bridge.trials import Trials
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.texts.windows import windows_part
from tests.support.cuts import CPU, WINDOWS
from tests.support.encoders import some_inputs
from tests.support.plain import some_tokens, windows_of

TRIED_ON = windows_of(some_tokens(6, 40, seed=3))
CUTS = [(), (2, 3), (1, 4)]


@pytest.fixture
def decoder(tiny_models):
    return open_decoder(tiny_models("llama"), CPU)


def test_each_cut_is_tried_with_the_bridge_that_is_fitted_for_it(decoder):
    trials = Trials(decoder, WINDOWS, TRIED_ON, silent)
    fitted = fit_bridges(decoder, WINDOWS, [(blocks_of(cut), TRIAL) for cut in CUTS[1:]], silent)
    bridges = [{}, *(solved for _, solved in fitted)]
    cuts = [Cut(all_but(cut, 6), solved) for cut, solved in zip(CUTS, bridges, strict=True)]
    part = windows_part(TRIED_ON, 2, 5)
    assert trials(CUTS, 2, 5) == try_cuts(decoder, part, cuts, silent, "")
    assert trials.bridge_tokens == WINDOWS.ids.numel()


def test_a_bridge_is_fitted_once(decoder):
    labels = []

    def progress(items, label, total, unit):
        labels.append(label)
        return iter(items)

    trials = Trials(decoder, WINDOWS, TRIED_ON, progress)
    first, again = trials(CUTS, 0, 2), trials(CUTS, 0, 2)
    assert first == again
    assert labels == ["bridging", "trying 3 cuts", "trying 3 cuts"]


def test_without_windows_to_fit_on_cuts_are_tried_as_they_are(decoder):
    trials = Trials(decoder, None, TRIED_ON, silent)
    cuts = [Cut(all_but(cut, 6)) for cut in CUTS]
    assert trials(CUTS, 0, 6) == try_cuts(decoder, TRIED_ON, cuts, silent, "")
    assert trials.bridge_tokens == 0


def test_encoders_are_tried_by_their_final_states(tiny_encoders):
    decoder = open_decoder(tiny_encoders("bert"), torch.device("cpu"))
    windows = windows_of(some_inputs(images=False, count=40))
    (whole, no_bridge), (cosine, bridged) = Trials(decoder, windows, windows, silent).agreements([(), (3,)])
    ((without, _),) = Trials(decoder, None, windows, silent).agreements([(3,)])
    assert whole == pytest.approx(1, abs=1e-6)
    assert (no_bridge, bridged) == (False, True)
    assert without < cosine < 1
