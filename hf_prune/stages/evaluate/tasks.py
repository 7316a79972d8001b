"""Scores on tasks of lm-evaluation-harness, each measured once and cached by content.

The cache key covers the model's files, the task's settings and items, and the versions of the harness and of
what computes. So the original is measured once for all its cuts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prune.errors import RecipeError, UnusableTask
from hf_prune.machine.disk import files_digest, write_whole
from hf_prune.machine.environment import device_name, reason_not_to_load
from hf_prune.machine.own_process import run_module
from hf_prune.machine.progress import Progress
from hf_prune.recipe.gates import parse_gates
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import AskedTask, AskedTasks, Attempt, TaskScore, fingerprint, from_data, to_json
from hf_prune.stages.source.companions import companion_files
from hf_prune.stages.texts.overlap import Part, check_questions
from hf_prune.stages.texts.text import Text, TextSource

MODULE = "hf_prune.stages.evaluate.harness"
COMPUTE = ("hf-prune", "torch", "transformers")  # packages whose versions may change a score


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model whose tasks are measured."""

    variant: str
    folder: Path
    size_bytes: int  # of its weights


def measured_model(variant: str, folder: Path) -> Measured:
    """The model in a folder, with the size of its weights."""
    size_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return Measured(variant=variant, folder=folder, size_bytes=size_bytes)


def ask(recipe: Recipe, progress: Progress, fitted: Sequence[Part[Text]] = ()) -> AskedTasks:
    """Check that the tasks of a recipe can be measured, before anything that takes long.

    Args:
        fitted: the texts that the model is fitted to, which may hold no item.

    Raises:
        RecipeError: the harness knows no such task; or a gate is for one that was not asked for.
        UnusableTask: a task's settings are wrong, or its items cannot be had.
        OverlappingData: an item stands in what the model is fitted to.
    """
    request = _request(recipe) | {"passages": bool(fitted)}
    names = request["tasks"]
    found, reason = run_module(MODULE, [json.dumps(request)], progress, "tasks", len(names))
    if reason is not None:
        raise UnusableTask(f"lm-evaluation-harness could not be asked about {recipe.tasks}: {reason}")
    for each in found:
        if "unknown" in each:
            near, folder = each["near"], f" or {recipe.tasks_from}" if recipe.tasks_from else ""
            meant = f"did you mean {' or '.join(near)}?" if near else "`lm_eval ls tasks` lists those it has"
            raise RecipeError(
                f"--eval {each['unknown']}: there is no such task in lm-evaluation-harness{folder}: {meant}"
            )
        if "reason" in each:
            raise UnusableTask(
                f"the task {each['name']} cannot be measured here: {each['reason']}; leave it out of --eval, "
                f"or where its items could not be had, give the same command again with a network"
            )
        items = TextSource(name=each["name"], dataset=None)
        check_questions(fitted, each["passages"], Part("items of the task", "--eval", items))
    tasks = tuple(
        AskedTask(name=each["name"], figures_of=tuple(each["figures_of"]), sha256=each["sha256"])
        for each in found
    )
    asked = AskedTasks(tasks=tasks, harness=found[0]["harness"])
    for gate in parse_gates(recipe.min_score):
        if gate.task not in asked.figures_of:
            raise RecipeError(
                f"--min-score {gate}: --eval {recipe.tasks} gives figures of {', '.join(asked.figures_of)}"
            )
    return asked


def score(
    model: Measured, asked: AskedTasks, recipe: Recipe, device: str, kept: Path, progress: Progress
) -> Attempt[TaskScore]:
    """The scores of one model. Tasks that it was measured on before are read from the cache.

    Args:
        kept: the folder of what was measured before; files in it may be deleted at any time.
    """
    keys = _keys(model.folder, asked, recipe, device)
    trials = {task: trial for task, key in keys.items() if (trial := _read(kept / f"{key}.json"))}
    missing = [task for task in keys if task not in trials]
    reason = reason_not_to_load(model.size_bytes, device) if missing else None
    if missing and reason is None:
        request = _request(recipe) | {"tasks": missing, "folder": str(model.folder.resolve())}
        request |= {"device": device, "trust_remote_code": recipe.trust_remote_code}
        label = f"tasks, {model.variant}"
        printed, reason = run_module(MODULE, [json.dumps(request)], progress, label, len(missing))
        for each in printed:
            scores = tuple(TaskScore(variant=model.variant, **fields) for fields in each["scores"])
            trials[each["name"]] = Attempt(found=scores)
            write_whole(kept / f"{keys[each['name']]}.json", to_json(trials[each["name"]]))
    found = [each for task in keys if task in trials for each in trials[task].found]
    if reason is None and not found:
        reason = "no task gave a valid figure"
    return Attempt(found=tuple(replace(each, variant=model.variant) for each in found), reason=reason)


def _request(recipe: Recipe) -> dict[str, Any]:
    return {
        "tasks": list(dict.fromkeys(recipe.tasks.split(","))),
        "tasks_from": recipe.tasks_from,
        "limit": recipe.limit,
        "fewshot": recipe.fewshot,
    }


def _keys(folder: Path, asked: AskedTasks, recipe: Recipe, device: str) -> dict[str, str]:
    """The cache key of each task."""
    trusted = recipe.trust_remote_code
    model = (model_digest(folder, code=trusted), trusted)
    computed = (device_name(device), [version(package) for package in COMPUTE])
    settings = (recipe.limit, recipe.fewshot, asked.harness, *computed)
    return {task.name: fingerprint(*model, task.name, task.sha256, *settings) for task in asked.tasks}


def model_digest(folder: Path, *, code: bool) -> str:
    """A digest of the files that a model is loaded from: weights, configuration and tokenizer."""
    weights = [path for path in folder.iterdir() if path.name.endswith((".safetensors", ".index.json"))]
    paths = {path.name: path for path in (*weights, folder / "config.json")}
    return files_digest(paths | {path.name: path for path in companion_files(folder, code=code)})


def _read(path: Path) -> Attempt[TaskScore] | None:
    try:
        return from_data(Attempt[TaskScore], json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not there, or not whole: measured again
        return None
