"""`--dry-run`: what it foresees, what it fetches for that, and that it writes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_prune.commands.estimate import estimate
from hf_prune.errors import RecipeError
from hf_prune.machine.environment import Machine
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import LayerCount, NamedLayers, WithinLoss
from tests.loopback import LoopbackHub
from tests.support.sample_run import OTHER_PARAMETERS, PARAMETERS_PER_LAYER, sample_anatomy
from tests.support.tool import FEW, hf_prune

DENSE = replace(sample_anatomy(30), dtype="BF16")
EIGHT = LayerCount(8)
TinyModels = Callable[..., Path]


CPU = Machine(device="cpu", free_memory=10**10, free_disk=10**11, operations_per_second=1e11)
GPU = Machine(device="cuda", free_memory=10**11, free_disk=10**11, operations_per_second=1e14)


def foreseen(removal, dense=DENSE, machine=CPU, healing_tokens=300_000, **asked):
    recipe = Recipe(model="m", **asked)
    return estimate(
        recipe,
        dense,
        removal,
        model="m",
        download_bytes=0,
        healing_tokens=healing_tokens,
        machine=machine,
    )


def test_foresees_the_size_of_what_is_left():
    found = foreseen(EIGHT)
    assert found.parameters_left == DENSE.parameters - 8 * DENSE.parameters_per_layer[0]
    assert found.size_bytes_left == 2 * found.parameters_left
    assert (
        foreseen(NamedLayers((3, 5))).parameters_left == DENSE.parameters - 2 * DENSE.parameters_per_layer[0]
    )
    assert foreseen(WithinLoss(0.1)).parameters_left is None


def test_time_grows_with_the_text_and_shrinks_with_the_machine():
    found = foreseen(EIGHT, method="bi")
    twice = foreseen(EIGHT, method="bi", samples=128)
    assert twice.measuring_seconds == pytest.approx(2 * found.measuring_seconds)
    assert found.choosing_seconds == 0
    assert foreseen(EIGHT).choosing_seconds == pytest.approx(20 * found.measuring_seconds)
    assert foreseen(EIGHT, budget=3.0).choosing_seconds == pytest.approx(3 * found.measuring_seconds)
    assert (
        foreseen(EIGHT, method="greedy").choosing_seconds
        > foreseen(EIGHT, method="loss").choosing_seconds
        > 0
    )
    assert foreseen(NamedLayers((3,)), layers="3").choosing_seconds == 0
    assert found.seconds > found.measuring_seconds


def test_multiple_choice_takes_time_until_none_is_asked_for():
    none, some, more = (foreseen(EIGHT, choice_items=count).evaluating_seconds for count in (0, 64, 128))
    assert none < some
    assert more - some == pytest.approx(some - none)
    assert foreseen(EIGHT, choice_items=64, sequence_length=16).evaluating_seconds < none


def test_memory_is_embeddings_two_layers_and_activations_whatever_the_depth():
    deeper = replace(sample_anatomy(300), dtype="BF16")
    assert DENSE.size_bytes < deeper.size_bytes / 5
    growth = foreseen(EIGHT, deeper).memory_bytes - foreseen(EIGHT).memory_bytes
    assert growth == 270 * (4096 + 64) * DENSE.hidden_size * 2  # what is remembered at each boundary


def test_on_a_cpu_nothing_is_trained_unasked_and_that_costs_nothing():
    found, refused = foreseen(EIGHT), foreseen(EIGHT, heal="none")
    assert (found.healing_method, refused.healing_method) == ("none", "none")
    assert found.healing_reason.startswith("nothing was trained: on a CPU hf-prune trains only on request")
    assert refused.healing_reason is None
    assert (found.healing_memory_bytes, found.healing_seconds) == (0, 0)
    assert (found.disk_bytes, found.seconds) == (refused.disk_bytes, refused.seconds)


def test_healing_takes_the_time_the_memory_and_the_disk_that_are_foreseen():
    found, without = foreseen(EIGHT, heal="lora", heal_tokens=102_400), foreseen(EIGHT, heal="none")
    assert found.healing_method == "lora"
    assert found.healing_seconds > 0
    assert found.seconds > without.seconds + found.healing_seconds  # it is evaluated too
    assert found.healing_memory_bytes > found.size_bytes_left
    lessons = 102_400 * 64 * 6  # of each token, the original's 64 most likely successors
    assert found.disk_bytes == without.disk_bytes + found.size_bytes_left + lessons
    taught_by_text = foreseen(EIGHT, heal="lora", heal_tokens=102_400, distill=False)
    assert taught_by_text.disk_bytes == found.disk_bytes - lessons


def test_what_is_stored_for_healing_is_said_of_each_token_of_the_text_once():
    short = foreseen(EIGHT, heal="lora", heal_tokens=512_000, healing_tokens=51_200)
    assert short.disk_bytes == foreseen(EIGHT, heal="lora", heal_tokens=51_200).disk_bytes
    assert short.healing_seconds > 5 * foreseen(EIGHT, heal="lora", heal_tokens=51_200).healing_seconds


def test_states_are_stored_for_each_gap_that_has_a_layer_before_it():
    asked = {"heal": "lora", "heal_tokens": 102_400}
    one, two, first = (
        foreseen(cut, **asked, boundary_loss=1.0).disk_bytes - foreseen(cut, **asked).disk_bytes
        for cut in map(NamedLayers, ((4, 5), (4, 7), (0, 7)))
    )
    assert one == first == 102_400 * DENSE.hidden_size * 2
    assert two == 2 * one


def test_a_tied_head_that_is_trained_takes_disk_of_its_own():
    asked = {"heal": "partial", "heal_tokens": 102_400}
    head = DENSE.vocabulary_size * DENSE.hidden_size * 2
    with_head, without = (foreseen(EIGHT, **asked, train_head=train_head) for train_head in (True, False))
    assert with_head.disk_bytes == without.disk_bytes + head


def test_a_gpu_heals_unasked_and_a_deeper_cut_in_less():
    shallow, deep = (foreseen(LayerCount(count), machine=GPU) for count in (4, 16))
    assert (shallow.healing_method, deep.healing_method) == ("lora", "lora")
    assert deep.healing_seconds < shallow.healing_seconds
    assert deep.healing_memory_bytes < shallow.healing_memory_bytes
    assert foreseen(WithinLoss(0.1), machine=GPU, max_loss=0.1).healing_seconds > shallow.healing_seconds


def test_of_layers_that_differ_in_size_those_that_are_named_go():
    sizes = tuple(PARAMETERS_PER_LAYER * (1 + layer // 15) for layer in range(30))
    uneven = replace(DENSE, parameters=OTHER_PARAMETERS + sum(sizes), parameters_per_layer=sizes)
    assert (
        foreseen(NamedLayers((20, 21)), uneven).parameters_left
        == uneven.parameters - 4 * PARAMETERS_PER_LAYER
    )
    assert foreseen(LayerCount(2), uneven).parameters_left == uneven.parameters - 2 * PARAMETERS_PER_LAYER


def test_a_healing_that_cannot_be_is_refused_before_anything_is_fetched():
    with pytest.raises(RecipeError, match="nothing comes before layer 0: --heal lora"):
        foreseen(NamedLayers((0, 1)), heal="replace")


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
    assert told["healing_method"] == "none"
    assert "on a CPU" in told["healing_reason"]
    assert list(tmp_path.iterdir()) == []
    weights = [call for call in home_hub.calls if call.method == "GET" and "model.safetensors" in call.path]
    assert weights
    assert all(call.byte_range is not None for call in weights)


def test_a_dry_run_says_what_it_would_do_in_a_table(tiny_models: TinyModels, tmp_path: Path) -> None:
    outcome = hf_prune(str(tiny_models("llama")), "--dry-run", "--drop-layers", "2", *FEW)
    assert outcome.code == 0
    for row in ("layers to remove", "2 of 6", "parameters", "memory", "time", "measuring", "disk"):
        assert row in outcome.out
    assert "none: on a CPU hf-prune trains only on request" in " ".join(outcome.out.split())


def test_a_dry_run_says_what_would_be_trained_where_that_is_asked_for(tiny_models: TinyModels) -> None:
    words = ("--dry-run", "--drop-layers", "2", "--heal", "partial", *FEW)
    told = json.loads(hf_prune(str(tiny_models("llama")), *words, "--json").out)
    assert (told["healing_method"], told["healing_reason"]) == ("partial", None)
    assert told["healing_memory_bytes"] > told["size_bytes_left"]
    assert told["healing_seconds"] > 0
    table = hf_prune(str(tiny_models("llama")), *words).out
    assert "partial, in " in table


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


@pytest.mark.slow
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
