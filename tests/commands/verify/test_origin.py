"""Which tensors have to be the original's, by what the record says was done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_prune.commands.verify.origin import KEPT, OUTSIDE, TRAINED, allowed_changes, origin_claims, same_bytes
from hf_prune.machine.progress import silent
from hf_prune.model.skeleton import build_skeleton
from hf_prune.model.weights import read_index
from hf_prune.records import Healing
from hf_prune.stages.run import Run
from tests.support.sample_run import sample_grown_run, sample_plan, sample_run, sample_sorted_run

HEALED = ("cut", "bridged", "healed")


def healed_by(method: str) -> Run:
    run = sample_run(variants=HEALED)
    return replace(
        run, healing=replace(run.healing, plan=replace(run.healing.plan, method=method, last_layers=3))
    )


def test_after_a_bridge_only_its_tensors_may_differ() -> None:
    run = sample_run()
    freedom = allowed_changes(run)
    assert freedom.bridged == {folded.tensor for folded in run.bridge.folded}
    assert (freedom.layers, freedom.outside, freedom.tensors) == (frozenset(), False, 0)
    assert allowed_changes(sample_run(variants=("cut",))).bridged == frozenset()


def test_healing_frees_the_layers_that_it_trains() -> None:
    left = len(sample_plan().kept)
    (block,) = sample_plan().blocks
    expected = {
        "lora": (range(left), False),
        "qlora": (range(left), False),
        "partial": (range(left - 3, left), True),
        "replace": ([block.start - 1], False),
    }
    for method, (layers, outside) in expected.items():
        freedom = allowed_changes(healed_by(method))
        assert (freedom.layers, freedom.outside) == (frozenset(layers), outside), method
        assert freedom.tensors == 154


def test_growing_frees_the_new_layers_alone_and_sorting_everything() -> None:
    grown, in_order = allowed_changes(sample_grown_run()), allowed_changes(sample_sorted_run())
    assert (grown.layers, grown.outside) == (frozenset(sample_grown_run().growth.layers), False)
    assert (in_order.layers, in_order.outside) == (frozenset(range(30)), True)


def test_healing_that_was_not_kept_frees_nothing() -> None:
    run = replace(sample_run(), healing=replace(healed_by("lora").healing, kept=False))
    assert allowed_changes(run).layers == frozenset()


# On files: a copy of six layers in place of a result that keeps them all


@pytest.fixture
def copied(tiny_models: Callable[..., Path], tmp_path: Path) -> Path:
    weights = load_file(tiny_models("llama") / "model.safetensors")
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_models("llama") / name).read_bytes())
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def altered(folder: Path, *names: str) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in names:
        weights[name] = weights[name] + 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def claims_of(folder: Path, original: Path, healing: Healing | None = None) -> dict[str, bool | None]:
    run = sample_run(variants=("cut",))
    plan = replace(run.plan, num_layers=6, removed=(), kept=tuple(range(6)), blocks=())
    anatomy = replace(run.result_anatomy, num_layers=6)
    run = replace(run, plan=plan, result_anatomy=anatomy, healing=healing or run.healing)
    found = origin_claims(run, build_skeleton(folder), build_skeleton(original), silent)
    return {claim.name: claim.holds for claim in found}


def test_what_is_the_same_holds(copied: Path, tiny_models: Callable[..., Path]) -> None:
    assert claims_of(copied, tiny_models("llama")) == {KEPT: True, OUTSIDE: True}


def test_a_tensor_of_a_layer_and_one_outside_are_told_apart(
    copied: Path, tiny_models: Callable[..., Path]
) -> None:
    altered(copied, "model.layers.3.mlp.up_proj.weight")
    assert claims_of(copied, tiny_models("llama")) == {KEPT: False, OUTSIDE: True}
    altered(copied, "model.layers.3.mlp.up_proj.weight", "model.norm.weight")
    assert claims_of(copied, tiny_models("llama"))[OUTSIDE] is False


def test_training_may_change_as_many_tensors_as_it_says_where_it_says(
    copied: Path, tiny_models: Callable[..., Path]
) -> None:
    healing = replace(healed_by("partial").healing, tensors=2)
    names = ["model.layers.5.mlp.up_proj.weight", "model.norm.weight", "model.layers.4.mlp.up_proj.weight"]
    altered(copied, *names[:2])
    assert claims_of(copied, tiny_models("llama"), healing) == {KEPT: True, TRAINED: True}
    altered(copied, names[2])
    assert claims_of(copied, tiny_models("llama"), healing) == {KEPT: True, TRAINED: False}
    altered(copied, "model.layers.1.mlp.up_proj.weight")
    assert claims_of(copied, tiny_models("llama"), healing)[KEPT] is False


def test_a_part_of_a_tensor_is_compared_with_what_was_made_of_it(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(2, 12)
    save_file({"a": whole}, tmp_path / "model.safetensors")
    (tmp_path / "part").mkdir()
    save_file({"a": whole[:, [0, 1, 4, 5]].contiguous()}, tmp_path / "part" / "model.safetensors")
    stored, written = (read_index(folder).tensors["a"] for folder in (tmp_path, tmp_path / "part"))
    assert same_bytes(stored.part(1, (0, 1, 4, 5)), written)
    assert not same_bytes(stored.part(1, (0, 1, 4, 6)), written)
    assert not same_bytes(stored, written)
