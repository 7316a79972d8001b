"""`--dry-run`: what it foresees, what it fetches for that, and that it writes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_prune.estimate import estimate
from hf_prune.recipe import Recipe
from tests.hub import LoopbackHub
from tests.sample_run import sample_anatomy
from tests.tool import FEW, hf_prune

DENSE = replace(sample_anatomy(30), dtype="BF16")
TinyModels = Callable[..., Path]


def foreseen(wanted, dense=DENSE, **asked):
    recipe = Recipe(model="m", **asked)
    return estimate(recipe, dense, wanted, model="m", download_bytes=0, operations_per_second=1e11)


def test_foresees_the_size_of_what_is_left():
    found = foreseen(8)
    assert found.parameters_left == DENSE.parameters - 8 * DENSE.parameters_per_layer[0]
    assert found.size_bytes_left == 2 * found.parameters_left
    assert foreseen((3, 5)).parameters_left == DENSE.parameters - 2 * DENSE.parameters_per_layer[0]
    assert foreseen(None).parameters_left is None


def test_time_grows_with_the_text_and_shrinks_with_the_machine():
    found = foreseen(8, method="bi")
    twice = foreseen(8, method="bi", samples=128)
    assert twice.measuring_seconds == pytest.approx(2 * found.measuring_seconds)
    assert found.choosing_seconds == 0
    assert foreseen(8).choosing_seconds == pytest.approx(20 * found.measuring_seconds)
    assert foreseen(8, budget=3.0).choosing_seconds == pytest.approx(3 * found.measuring_seconds)
    assert foreseen(8, method="greedy").choosing_seconds > foreseen(8, method="loss").choosing_seconds > 0
    assert foreseen((3,), layers="3").choosing_seconds == 0
    assert found.seconds > found.measuring_seconds


def test_memory_is_embeddings_two_layers_and_activations_whatever_the_depth():
    deeper = replace(sample_anatomy(300), dtype="BF16")
    assert DENSE.size_bytes < deeper.size_bytes / 5
    growth = foreseen(8, deeper).memory_bytes - foreseen(8).memory_bytes
    assert growth == 270 * (4096 + 64) * DENSE.hidden_size * 2  # what is remembered at each boundary


def test_a_dry_run_on_the_hub_fetches_headers_and_writes_nothing(
    home_hub: LoopbackHub, tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    HfApi().create_repo("tester/dry")
    folder = tiny_models("llama", hidden_size=256, num_hidden_layers=8)
    HfApi().upload_folder(repo_id="tester/dry", folder_path=folder)
    size = (folder / "model.safetensors").stat().st_size
    home_hub.calls.clear()
    outcome = hf_prune("tester/dry", "--dry-run", "--json", "--drop-layers", "3", *FEW)
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert (told["layers_removed"], told["num_layers"]) == (3, 8)
    assert told["download_bytes"] == size
    assert told["parameters_left"] < told["parameters"]
    assert list(tmp_path.iterdir()) == []
    weights = [call for call in home_hub.calls if call.method == "GET" and "model.safetensors" in call.path]
    assert weights
    assert all(call.byte_range is not None for call in weights)


def test_a_dry_run_says_what_it_would_do_in_a_table(tiny_models: TinyModels, tmp_path: Path) -> None:
    outcome = hf_prune(str(tiny_models("llama")), "--dry-run", "--drop-layers", "2", *FEW)
    assert outcome.code == 0
    for row in ("layers to remove", "2 of 6", "parameters", "memory", "time", "measuring", "disk"):
        assert row in outcome.out


def test_a_target_decides_how_many_layers_go(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = tiny_models("llama")
    whole = json.loads(hf_prune(str(folder), "--dry-run", "--json", "--drop-layers", "1", *FEW).out)
    per_layer = whole["parameters"] - whole["parameters_left"]
    wanted = whole["parameters"] - 3 * per_layer
    told = json.loads(hf_prune(str(folder), "--dry-run", "--json", "--target-params", str(wanted), *FEW).out)
    assert (told["layers_removed"], told["parameters_left"]) == (3, wanted)
    told = json.loads(
        hf_prune(str(folder), "--dry-run", "--json", "--target-params", str(wanted - 1), *FEW).out
    )
    assert told["layers_removed"] == 4
    outcome = hf_prune(str(folder), "--dry-run", "--target-params", "1K", *FEW)
    assert outcome.code == 2
    assert "--target-params 1000: without any of its layers" in outcome.error()


def test_a_target_of_memory_is_met_by_the_run_that_follows_and_by_no_shallower_one(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = tiny_models("llama")
    dense = json.loads(hf_prune(str(folder), "--dry-run", "--json", "--drop-layers", "1", *FEW).out)
    layer = dense["size_bytes"] - dense["size_bytes_left"]
    target = dense["size_bytes"] - 2 * layer  # two layers for the weights, another for the cache
    words = (str(folder), *FEW, "--method", "bi", "--bridge", "none", "--target-memory", str(target))
    outcome = hf_prune(*words, "--context-length", "16", "--output", str(tmp_path / "run"), "--json")
    run = json.loads(outcome.out)["run"]
    assert len(run["plan"]["removed"]) == 3
    cache = 16 * run["result_anatomy"]["key_value_bytes_per_token"]
    assert run["result"]["size_bytes"] + cache <= target < run["result"]["size_bytes"] + cache + layer


def test_trying_every_bridge_takes_longer_than_one_and_none_takes_nothing(tiny_models: TinyModels) -> None:
    seconds = []
    for bridge in ("none", "relay", "auto"):
        words = (str(tiny_models("llama")), "--dry-run", "--json", "--bridge", bridge, *FEW)
        told = json.loads(hf_prune(*words).out)
        seconds.append(told["repairing_seconds"] * told["operations_per_second"])
    assert seconds[0] == 0
    assert 2 * seconds[1] < seconds[2]
