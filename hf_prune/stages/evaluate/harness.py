"""Tasks of lm-evaluation-harness, prepared and measured in a process of their own.

`python -m hf_prune.stages.evaluate.harness REQUEST` prints one JSON object for each task in the request.
Without a model in the request it only checks that the harness knows the tasks and can load their items.
The harness does everything else, as its own command does with the same settings: it reads the tasks, builds
the prompts, runs the model and computes the scores.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from hf_prune.errors import first_line
from hf_prune.machine.own_process import print_answers

NEAR = 3  # how many similar names are suggested for an unknown one
NO_FIGURES = ("name", "alias", "sample_len", "sample_count")  # keys of the harness's results


def prepared(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the harness knows about each requested name, or what is wrong with it.

    Args:
        asked: `tasks`, the names; `tasks_from`, `limit` and `fewshot` of the recipe; `passages`, a flag.
    """
    from importlib.metadata import version

    manager = _manager(asked["tasks"], asked["tasks_from"])
    unknown = [name for name in asked["tasks"] if name not in manager.task_index]
    if unknown:
        near = difflib.get_close_matches(unknown[0], manager.all_tasks, NEAR)
        yield {"unknown": unknown[0], "near": near}
        return
    for name in asked["tasks"]:
        try:
            loaded = manager.load([name])
            tasks, groups = loaded["tasks"], loaded.get("groups", {})
            if reason := _reason_against(tasks.values()):
                yield {"name": name, "reason": reason}
                return
            sha256 = _digest(tasks, asked["limit"], asked["fewshot"])
            passages = list(_passages(tasks, asked["limit"])) if asked["passages"] else []
            is_whole = name in groups and groups[name].has_aggregation
        except Exception as error:  # whatever a task's own code, its settings or the way to its items raise
            yield {"name": name, "reason": f"{type(error).__name__}: {first_line(error)}"}
            return
        yield {
            "name": name,
            "figures_of": [name] if is_whole else list(tasks),
            "sha256": sha256,
            "passages": passages,
            "harness": version("lm_eval"),
        }


def _manager(names: list[str], folder: str | None) -> Any:
    """The task manager, without the harness's own tasks if the folder has all: they take seconds to index."""
    from lm_eval.tasks import TaskManager

    if folder is not None:
        manager = TaskManager(include_path=folder, include_defaults=False)
        if set(names) <= set(manager.all_subtasks):
            return manager
    return TaskManager(include_path=folder)


def _reason_against(tasks: Any) -> str | None:
    for task in tasks:
        if getattr(task, "UNSAFE_CODE", False):
            return "it runs code that the model writes, which hf-prune refuses to do"
        if getattr(task, "MULTIMODAL", False):
            return "it shows the model more than text"
    return None


def _digest(tasks: Mapping[str, Any], limit: int | None, fewshot: int | None) -> str:
    """A digest of what decides the prompts: the tasks' settings, their items, and the few-shot examples."""
    digest = hashlib.sha256()
    for name, task in tasks.items():
        own = task.get_config("num_fewshot")
        shown = own if own == 0 or fewshot is None else fewshot  # a 0-shot task stays 0-shot
        examples = task.fewshot_docs() if shown else ()
        for part in (name, task.dump_config(), *islice(task.eval_docs, limit), *examples):
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _passages(tasks: Mapping[str, Any], limit: int | None) -> Iterator[str]:
    """The texts in the items, without the words that a prompt adds."""
    for task in tasks.values():
        for document in islice(task.eval_docs, limit):
            yield from (value for value in document.values() if isinstance(value, str))


def measured(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The scores of one model on each requested name; its folder, device and trust are in `asked` too."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    from hf_prune.model.whole import load_whole

    folder, device, trusted = Path(asked["folder"]), asked["device"], asked["trust_remote_code"]
    # On a GPU the harness finds the batch size that fits. On a CPU it would run out of memory first.
    batch_size = "auto" if device.startswith("cuda") else 1
    model = HFLM(
        pretrained=load_whole(folder, device, trust_remote_code=trusted),
        tokenizer=AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted),
        batch_size=batch_size,
    )
    manager = _manager(asked["tasks"], asked["tasks_from"])
    for name in asked["tasks"]:
        found = simple_evaluate(
            model=model,
            tasks=[name],
            task_manager=manager,
            limit=asked["limit"],
            num_fewshot=asked["fewshot"],
            batch_size=batch_size,
            device=device,
        )
        yield {"name": name, "scores": list(figures(name, found))}


def figures(name: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of a `TaskScore`, without the variant, for each figure that is a number."""
    subtasks = found["group_subtasks"]
    configs = found["configs"]
    own = [name] if name in found.get("groups", {}) or name in configs else list(configs)
    for task in own:
        parts, results = _tasks_below(task, subtasks), found["results"][task]
        about = {
            "task": task,
            "version": str(found["versions"].get(task)),
            "generates": any(configs[part]["output_type"] == "generate_until" for part in parts),
            "num_fewshot": max(found["n-shot"].get(part) or 0 for part in parts),
            "num_items": sum(found["n-samples"][part]["effective"] for part in parts),
            "sha256": _items_digest(parts, found["samples"]),
            "harness": found["lm_eval_version"],
        }
        for key, value in results.items():
            metric, _, answer_filter = key.partition(",")
            if key in NO_FIGURES or metric.endswith("_stderr") or not _is_number(value):
                continue
            stderr = results.get(f"{metric}_stderr,{answer_filter}")
            yield about | {
                "metric": metric,
                "answer_filter": answer_filter,
                "value": float(value),
                "stderr": float(stderr) if _is_number(stderr) else None,
                # The harness says nothing if the tasks of a group disagree. Mostly, higher is better.
                "higher_is_better": found["higher_is_better"].get(task, {}).get(metric) is not False,
            }


def _tasks_below(name: str, subtasks: Mapping[str, list[str]]) -> list[str]:
    """The tasks of a group and of the groups inside it, in order; for a task, only itself."""
    if name not in subtasks:
        return [name]
    return [task for part in subtasks[name] for task in _tasks_below(part, subtasks)]


def _items_digest(tasks: list[str], samples: Mapping[str, list[dict[str, Any]]]) -> str:
    """A digest of items, prompts and targets; for one task it equals the harness's own `task_hashes`."""

    def digest(parts: list[str]) -> str:
        return hashlib.sha256("".join(parts).encode("utf-8")).hexdigest()

    hashes = ("doc_hash", "prompt_hash", "target_hash")
    each = [digest([item[name] for item in samples[task] for name in hashes]) for task in tasks]
    return each[0] if len(each) == 1 else digest(each)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False


if __name__ == "__main__":
    print_answers(lambda asked: measured(asked) if "folder" in asked else prepared(asked))
