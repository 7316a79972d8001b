"""`hf-prune eval`: a model alone, and beside another."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_prune.records import from_data
from hf_prune.stages.run import Evaluation
from tests.stages.evaluate.test_tasks import ROOT, TASKS
from tests.support.tool import hf_prune

TinyModels = Callable[..., Path]
LITTLE = ("--eval-samples", "2", "--choice-items", "4", "--seq-len", "32", "--device", "cpu")


def evaluation_of(folder: Path) -> Evaluation:
    content: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return from_data(Evaluation, content)


def test_a_model_beside_its_baseline_is_compared_with_it_and_held_to_the_loss(
    trained_model: Path, tiny_models: TinyModels, tmp_path: Path
) -> None:
    folder = tmp_path / "evaluation"
    words = ("eval", str(tiny_models("llama")), "--baseline", str(trained_model), *LITTLE)
    outcome = hf_prune(*words, "--max-loss", "0.01", "--output", str(folder))
    found = evaluation_of(folder)
    assert outcome.code == 3
    assert outcome.out == f"{folder / 'evaluation.json'}\n"
    baseline, model = found.evaluated.perplexities
    assert (baseline.variant, model.variant) == ("baseline", "model")
    assert baseline.loss < model.loss - 0.01
    assert outcome.err.splitlines()[-1].startswith("hf-prune: the loss on held-out text is ")
    assert [c.agreement is None for c in found.evaluated.choices] == [True, False]
    assert [speed.variant for speed in found.evaluated.speeds.found] == ["baseline", "model"]
    assert found.baseline is not None
    assert (found.name, found.baseline.folder) == (tiny_models("llama").name, trained_model.name)
    assert str(tmp_path.parent) not in (folder / "evaluation.json").read_text()
    assert f"{model.loss - baseline.loss:+.4f}" in outcome.err
    assert not (folder / "checkpoints").exists()


def test_refuses_a_limit_of_the_loss_that_stands_beside_nothing(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    outcome = hf_prune("eval", str(tiny_models("llama")), "--max-loss", "1", "--output", str(tmp_path / "e"))
    assert (outcome.code, "give --baseline too" in outcome.error()) == (2, True)


def test_refuses_a_baseline_that_reads_other_tokens(tiny_models: TinyModels, tmp_path: Path) -> None:
    other = tiny_models("llama", num_hidden_layers=3)
    description = json.loads((other / "tokenizer.json").read_text())
    description["post_processor"] = None
    description["model"]["merges"] = description["model"]["merges"][:5]
    changed = tmp_path / "other"
    changed.mkdir()
    for path in other.iterdir():
        os.link(path, changed / path.name)
    (changed / "tokenizer.json").unlink()
    (changed / "tokenizer.json").write_text(json.dumps(description))
    words = ("eval", str(tiny_models("llama")), "--baseline", str(changed), *LITTLE)
    outcome = hf_prune(*words, "--output", str(tmp_path / "e"))
    assert "make other tokens of the same text" in outcome.error()
    assert outcome.code == 2


def test_refuses_an_encoder(tiny_encoders: Callable[[str], Path], tmp_path: Path) -> None:
    outcome = hf_prune("eval", str(tiny_encoders("bert")), "--output", str(tmp_path / "e"))
    assert "is a text encoder: hf-prune eval measures models that write text" in outcome.error()


@pytest.mark.slow
def test_a_run_whose_task_scores_too_low_is_kept_and_a_resumed_one_measures_nothing_again(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    folder = tmp_path / "run"
    tasks = (
        "--eval",
        "own_choices",
        "--tasks-from",
        str(TASKS),
        "--limit",
        "3",
        "--min-score",
        "own_choices=1",
    )
    cut = ("--layers", "2-3", "--bridge", "none", "--heal", "none", "--samples", "4", *LITTLE)
    words = (str(tiny_models("llama")), *cut, *tasks, "--output", str(folder))
    outcome = hf_prune(*words)
    assert outcome.code == 3
    assert outcome.out == f"{folder / 'model'}\n"
    run = json.loads((folder / "run.json").read_text())
    assert [(s["variant"], s["metric"]) for s in run["evaluated"]["scores"]["found"]] == [
        *(("dense", "acc"), ("dense", "acc_norm")),
        *(("cut", "acc"), ("cut", "acc_norm")),
    ]
    assert run["recipe"]["tasks_from"] == "tasks"
    value = f"{run['evaluated']['scores']['found'][2]['value']:.3g}"
    told = f"own_choices acc {value} is below --min-score 1: nothing was pushed; see {folder / 'model'}"
    assert outcome.err.splitlines()[-1] == f"hf-prune: {told}"
    assert "own_choices acc" in outcome.err.replace(told, "")  # in the table
    stages = {path.name: path.stat().st_mtime_ns for path in (folder / "stages").iterdir()}
    again = hf_prune(*words)
    assert (again.code, again.err.splitlines()[-1]) == (3, f"hf-prune: {told}")
    del stages["recipe.json"]  # claimed anew
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "stages").iterdir()}
    assert {name: after[name] for name in stages} == stages
