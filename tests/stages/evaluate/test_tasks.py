"""Tasks of lm-evaluation-harness: what is kept of them, and that they are the harness's own figures.

A process that imports the harness takes seconds: few are started, and looked at from all sides.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from hf_prune.errors import OverlappingData, RecipeError, UnusableTask
from hf_prune.machine.progress import silent
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import AskedTasks, Attempt, TaskScore
from hf_prune.stages.evaluate import harness
from hf_prune.stages.evaluate.tasks import Measured, ask, model_digest, score
from hf_prune.stages.texts.material import task_folder_digest
from hf_prune.stages.texts.overlap import Part
from hf_prune.stages.texts.text import Text
from tests.support.checkout import ROOT
from tests.support.tool import hf_prune

TASKS = ROOT / "tests" / "support" / "tasks"
TOO_LARGE = 1 << 60  # bytes of weights that fit nowhere
TinyModels = Callable[..., Path]


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks name their items from there."""
    monkeypatch.chdir(ROOT)


def recipe_of(tasks: str, **options: Any) -> Recipe:
    return Recipe(model="m", tasks=tasks, tasks_from=str(TASKS), **{"limit": 3, **options})


RECIPE = recipe_of("own_group,own_sums")


@pytest.fixture(scope="module")
def asked() -> AskedTasks:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return ask(recipe_of("own_choices,own_sums"), silent)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def measured(asked: AskedTasks, kept: Path, tiny_models: TinyModels) -> Attempt[TaskScore]:
    model = Measured(variant="dense", folder=tiny_models("llama"), size_bytes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return score(model, asked, recipe_of("own_choices,own_sums"), "cpu", kept, silent)


def test_every_task_has_its_figures_with_all_that_they_rest_on(measured: Attempt[TaskScore]) -> None:
    assert measured.reason is None
    found = [(s.task, s.metric, s.answer_filter, s.generates, s.num_fewshot) for s in measured.found]
    assert found == [
        ("own_choices", "acc", "none", False, 0),
        ("own_choices", "acc_norm", "none", False, 0),
        ("own_sums", "exact_match", "strict-match", True, 2),
        ("own_sums", "exact_match", "flexible-extract", True, 2),
    ]
    assert {(s.variant, s.num_items, s.version, s.harness) for s in measured.found} == {
        ("dense", 3, "1.0", version("lm-eval"))
    }
    assert len({s.sha256 for s in measured.found}) == 2
    acc = measured.found[0]
    assert 3 * acc.value in range(4)
    assert acc.stderr == pytest.approx((acc.value * (1 - acc.value) / 2) ** 0.5)


def test_what_was_measured_is_read_for_the_same_files_and_for_no_others(
    measured: Attempt[TaskScore], asked: AskedTasks, kept: Path, tiny_models: TinyModels, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(tiny_models("llama"), tmp_path / "copy"))
    again = Measured(variant="cut", folder=copied, size_bytes=TOO_LARGE)  # it could not be measured
    recipe = recipe_of("own_choices,own_sums")
    read = score(again, asked, recipe, "cpu", kept, silent)
    assert read == Attempt(found=tuple(replace(s, variant="cut") for s in measured.found))
    of_one = score(again, replace(asked, tasks=asked.tasks[1:]), recipe, "cpu", kept, silent)
    assert {s.task for s in of_one.found} == {"own_sums"}

    def not_kept(asked: AskedTasks = asked, recipe: Recipe = recipe) -> bool:
        trial = score(again, asked, recipe, "cpu", kept, silent)
        return trial.found == () and "are free" in (trial.reason or "")

    assert not_kept(recipe=replace(recipe, limit=4))
    assert not_kept(recipe=replace(recipe, fewshot=1))
    assert not_kept(asked=replace(asked, harness="0.4.12"))
    assert not_kept(asked=replace(asked, tasks=tuple(replace(t, sha256="other") for t in asked.tasks)))
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(settings | {"rope_theta": 5}))
    assert not_kept()


def test_the_readme_of_a_model_is_no_part_of_it(tiny_models: TinyModels, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(tiny_models("llama"), tmp_path / "copy"))
    before = model_digest(copied, code=False)
    (copied / "README.md").write_text("A card.")
    assert model_digest(copied, code=False) == before
    (copied / "model.safetensors").write_bytes(b"other")
    assert model_digest(copied, code=False) != before


def test_a_file_in_the_folder_of_tasks_changes_its_digest(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TASKS, tmp_path / "tasks"))
    recipe = replace(RECIPE, tasks_from=str(folder))
    before = task_folder_digest(recipe)
    assert before == task_folder_digest(RECIPE)
    (folder / "own_sums.jsonl").write_text("{}")
    assert task_folder_digest(recipe) != before
    assert task_folder_digest(Recipe(model="m")) is None


def test_refuses_a_folder_of_tasks_that_is_not_there() -> None:
    with pytest.raises(RecipeError, match="--tasks-from missing: there is no such folder"):
        task_folder_digest(replace(RECIPE, tasks_from="missing"))


# Figures out of what the harness returns


def returned() -> dict[str, Any]:
    """As `simple_evaluate` returns a group of two tasks."""
    sample = {"doc_hash": "d", "prompt_hash": "p", "target_hash": "t"}
    metrics = {"alias": "x", "sample_len": 2, "acc,none": 0.5, "acc_stderr,none": 0.5}
    return {
        "results": {
            "one": metrics,
            "two": metrics | {"perplexity,none": float("inf"), "perplexity_stderr,none": "N/A"},
            "both": {
                "alias": "b",
                "sample_count": {"acc,none": 4},
                "acc,none": 0.5,
                "acc_stderr,none": "N/A",
            },
        },
        "groups": {"both": {}},
        "group_subtasks": {"both": ["inner", "two"], "inner": ["one"]},
        "configs": {"one": {"output_type": "multiple_choice"}, "two": {"output_type": "generate_until"}},
        "versions": {"one": 1.0, "two": 2.0, "both": 3},
        "n-shot": {"one": 5, "two": 0},
        "higher_is_better": {"one": {"acc": True}, "two": {"acc": False}, "both": {"acc": None}},
        "n-samples": {"one": {"original": 9, "effective": 2}, "two": {"original": 9, "effective": 2}},
        "samples": {"one": [sample, sample], "two": [sample, sample]},
        "lm_eval_version": "0.4.13",
    }


def test_a_group_with_figures_of_its_own_stands_for_its_tasks() -> None:
    (figure,) = harness.figures("both", returned())
    about = (
        figure["task"],
        figure["version"],
        figure["num_fewshot"],
        figure["num_items"],
        figure["generates"],
    )
    assert about == ("both", "3", 5, 4, True)
    assert (figure["value"], figure["stderr"], figure["higher_is_better"]) == (0.5, None, True)


def test_a_group_without_figures_of_its_own_is_its_tasks() -> None:
    found = returned() | {"groups": {}}
    assert [(f["task"], f["metric"]) for f in harness.figures("both", found)] == [
        ("one", "acc"),
        ("two", "acc"),
    ]


def test_a_figure_that_is_no_number_is_left_out_and_a_direction_is_kept() -> None:
    (figure,) = harness.figures("two", returned())
    assert (figure["metric"], figure["higher_is_better"], figure["stderr"]) == ("acc", False, 0.5)


# With the whole index of the harness, or the real model


@pytest.mark.slow
def test_an_unknown_task_is_refused_with_those_that_are_called_alike(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    words = (str(tiny_models("llama")), "--eval", "own_sums,arc_esy", "--tasks-from", str(TASKS))
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    assert outcome.code == 2
    assert f"there is no such task in lm-evaluation-harness or {TASKS}: did you mean" in outcome.error()
    assert "arc_easy" in outcome.error()
    assert {path.name for path in (tmp_path / "run" / "stages").iterdir()} == {"recipe.json"}


@pytest.mark.slow
def test_a_task_whose_items_cannot_be_had_is_refused_by_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TASKS, tmp_path / "tasks"))
    settings = (folder / "own_choices.yaml").read_text().replace("own_choices.jsonl", "missing.jsonl")
    (folder / "own_choices.yaml").write_text(settings)
    with pytest.raises(UnusableTask, match=r"the task own_choices cannot be measured here: .*missing\.jsonl"):
        ask(replace(RECIPE, tasks="own_sums,own_choices", tasks_from=str(folder)), silent)


@pytest.mark.slow
def test_an_item_that_stands_in_what_the_model_is_fitted_to_is_refused() -> None:
    item = json.loads((TASKS / "own_sums.jsonl").read_text().splitlines()[1])["question"]
    text = Text(name="fit.jsonl", dataset=None, documents=("A text of its own.", f"Sums. {item} Now you."))
    fitted = [Part("calibration text", "--calibration", text)]
    told = r"1 questions are both in the calibration text fit.jsonl and in the items of the task own_sums"
    with pytest.raises(OverlappingData, match=told):
        ask(recipe_of("own_sums"), silent, fitted)
    assert ask(recipe_of("own_sums", limit=1), silent, fitted).tasks  # that item is not asked


@pytest.mark.slow
def test_refuses_a_gate_for_a_figure_that_is_not_asked_for() -> None:
    told = "--min-score own_choices=0.5: --eval own_group gives figures of own_group"
    with pytest.raises(RecipeError, match=told):
        ask(recipe_of("own_group", min_score="own_group=0.1,own_choices=0.5"), silent)


@pytest.mark.slow
def test_figures_are_those_of_the_harness_run_by_hand_to_the_last_digit(
    real_model: Path, tmp_path: Path
) -> None:
    tasks = ("--tasks-from", str(TASKS), "--limit", "4")
    little = ("--eval-samples", "1", "--choice-items", "0", "--seq-len", "32", "--device", "cpu")
    words = ("eval", str(real_model), "--eval", "own_group,own_sums", *tasks, *little)
    outcome = hf_prune(*words, "--output", str(tmp_path / "evaluation"), "--json")
    assert outcome.code == 0, outcome.err
    scores = json.loads(outcome.out)["evaluation"]["evaluated"]["scores"]["found"]
    by_hand = run_by_hand(real_model, "own_group,own_sums", "4", tmp_path)
    assert len(scores) == 3
    for found in scores:
        theirs = by_hand["results"][found["task"]]
        metric, answer_filter = found["metric"], found["answer_filter"]
        assert found["value"] == theirs[f"{metric},{answer_filter}"]
        assert found["stderr"] == theirs[f"{metric}_stderr,{answer_filter}"]
        assert found["num_fewshot"] == by_hand["n-shot"].get(found["task"], 2)  # of the group it says nothing
        assert found["version"] == str(by_hand["versions"][found["task"]])
    assert scores[-1]["sha256"] == by_hand["task_hashes"]["own_sums"]
    assert 0 < scores[0]["value"] < 1  # so that there is something to be equal


def run_by_hand(model: Path, tasks: str, limit: str, folder: Path) -> dict[str, Any]:
    """What `lm_eval run` writes."""
    given = ("--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu", "--batch_size", "1")
    asked = ("--tasks", tasks, "--include_path", str(TASKS), "--limit", limit)
    written = ("--output_path", str(folder / "by_hand"), "--log_samples")
    command = [sys.executable, "-m", "lm_eval", "run", *given, *asked, *written]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (results,) = (folder / "by_hand").rglob("results_*.json")
    return json.loads(results.read_text())


def test_the_fields_of_a_figure_are_those_of_the_record() -> None:
    (figure,) = harness.figures("both", returned())
    from tests.support.sample_run import sample_score

    assert set(figure) == set(asdict(sample_score("dense", 0.5))) - {"variant"}
