"""Models take turns, so that what else a machine does falls on all of them."""

import json

import pytest

from hf_prune.machine.own_process import run_module
from hf_prune.machine.progress import silent
from hf_prune.stages.evaluate.speed import BATCH, BATCH_ROUNDS, ROUNDS, measure_speeds, rounds, speed_up


def test_models_alternate_and_the_first_round_does_not_count():
    asked = []

    def model(name):
        def ask(texts):
            asked.append((name, texts))
            return (float(len(asked)), 1.0)

        return ask

    times = [[], []]
    assert list(rounds([model("dense"), model("cut")], 8, 3, times)) == [0, 1, 2]
    assert asked == [("dense", 8), ("cut", 8)] * 3
    assert times == [[(3.0, 1.0), (5.0, 1.0)], [(4.0, 1.0), (6.0, 1.0)]]


def test_where_one_model_cannot_none_has_figures():
    times = [[(1.0, 1.0)], [(1.0, 1.0)]]
    assert list(rounds([lambda _: (1.0, 1.0), lambda _: None], 8, 3, times)) == []
    assert times == [[], []]


def test_a_burst_of_other_load_changes_no_ratio():
    load = [1.0, 1.0, 9.0, 2.0, 5.0, 1.5, 30.0]  # how many times as long everything takes, by round
    dense, cut = ([(first * slower, rest * slower) for slower in load] for first, rest in ((4, 3), (2, 2)))
    for which, expected in ((0, 2.0), (1, 1.5)):
        found = speed_up(cut, dense, which)
        assert (found.median, *found.quartiles) == pytest.approx((expected,) * 3)


def test_a_burst_that_falls_on_one_turn_hardly_counts():
    dense, cut = [(1.0, 3.0)] * 7, [(1.0, 2.0)] * 6 + [(1.0, 40.0)]
    assert speed_up(cut, dense, 1).median == pytest.approx(1.5)


def test_two_models_are_measured_side_by_side(tiny_models):
    folders = {"dense": tiny_models("llama"), "cut": tiny_models("llama", num_hidden_layers=2)}
    trial = measure_speeds(folders, 10**6, "cpu", silent, original="dense")
    assert trial.reason is None
    dense, cut = trial.found
    assert (dense.variant, cut.variant) == ("dense", "cut")
    for speed in trial.found:
        low, high = speed.batch_tokens_per_second_range
        assert (speed.runs, speed.batch_size, speed.device, speed.threads) == (ROUNDS - 1, BATCH, "cpu", 1)
        assert 0 < low <= speed.batch_tokens_per_second <= high
        assert speed.first_token_seconds > 0
        assert 50 * 10**6 < speed.peak_memory_bytes < 10**10
    assert dense.decode_speed_up is None
    assert cut.decode_speed_up.median > 1  # a third of the layers
    assert cut.first_token_speed_up is not None
    assert cut.batch_speed_up is not None


@pytest.mark.slow
def test_models_that_do_not_fit_together_are_measured_one_after_the_other(tiny_models):
    folders = [str(tiny_models("llama")), str(tiny_models("llama", num_hidden_layers=2))]
    asked = {"folders": folders, "together": False, "device": "cpu", "trust_remote_code": False}
    found, reason = run_module("hf_prune.stages.evaluate.speed", [json.dumps(asked)], silent, "speed", 1)
    assert reason is None
    measured = [figures for line in found for figures in line.get("measured", ())]
    assert [(len(each["alone"]), len(each["batch"])) for each in measured] == [
        (ROUNDS - 1, BATCH_ROUNDS - 1)
    ] * 2


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_the_reason(tiny_models, tmp_path):
    folders = {"dense": tiny_models("llama"), "cut": tmp_path / "nothing"}
    trial = measure_speeds(folders, 10**6, "cpu", silent)
    assert trial.found == ()
    assert trial.reason.startswith("the models could not be run: ")
    assert "nothing" in trial.reason
