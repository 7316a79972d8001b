"""The model card: from the record of a run to the text of README.md, its metadata and pictures.

Every figure comes from the `Run`; the templates have loops and ifs but no arithmetic.
Nothing here reads a model or reaches the Hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prune.records import Anatomy, Choices, Perplexity, Source, Speed, TaskScore, TextTokens
from hf_prune.stages.card.losses import damage_section, effect
from hf_prune.stages.card.metadata import HARNESS, card_metadata, perplexity_results
from hf_prune.stages.card.numbers import code
from hf_prune.stages.card.pictures import picture_paths
from hf_prune.stages.card.sections import (
    by_text,
    by_variant,
    carries_bridge,
    change_section,
    cut_section,
    depths_section,
    first_of_each_task,
    growth_section,
    licence_section,
    published_bridge,
    score_tables,
)
from hf_prune.stages.card.templates import BASE, rendered
from hf_prune.stages.run import Run

TITLES = {
    "dense": "Original",
    "cut": "Cut",
    "bridged": "Cut and bridged",
    "grown": "Grown",
    "healed": "Healed",
}
HEALERS = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "partial": "training its last layers",
    "replace": "training the layers before the gaps",
    "grown": "training the new layers alone, all else frozen",
    "sorted": "training all depths together",
}
LESSONS = {
    "predictions": "the original's predictions",
    "text": "the text",
    "states": "the original's states after each gap",
}
FORMATS = {"onnx": "ONNX", "onnx-8bit": "ONNX, 8 bits", "gguf": "GGUF"}
SHOWN_TASKS = 3  # of each kind in the at-a-glance table; all are further down
CACHED_TOKENS = 1000  # the at-a-glance table gives the KV cache for this many


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One variant in the tables."""

    title: str
    published: bool
    anatomy: Anatomy
    cache_bytes: int | None  # of CACHED_TOKENS
    perplexity: Perplexity
    choices: Choices | None
    speed: Speed | None


@dataclass(frozen=True, slots=True)
class _Head:
    """A head that healing parted from the embedding."""

    parameters: int
    size_bytes: int


def render_card(run: Run, repo_id: str | None = None) -> str:
    """The text of README.md.

    Args:
        run: what the card tells.
        repo_id: where it is published; None before that is known.
    """
    return rendered(BASE, card_context(run, repo_id), run.presentation)


def render_depth_card(run: Run, depth: int, repo_id: str | None = None) -> str:
    """The text of README.md of one depth of a sorted model.

    Args:
        run: that made the sorted model.
        depth: how many of its first layers.
        repo_id: where it is published, on a branch of its own; None: nowhere.
    """
    chosen = next((each for each in run.evaluated.depths if each.layers == depth), None)
    metadata = card_metadata(run)
    metadata.eval_results = perplexity_results(chosen.perplexity) if chosen else None  # not the whole model's
    context = card_context(run, repo_id) | {
        "metadata": metadata.to_yaml(),
        "depth": chosen,
        "layers": depth,
        "repo_id": repo_id,
    }
    return rendered("depth_card.md.j2", context)


def card_context(run: Run, repo_id: str | None) -> dict[str, Any]:
    """Every value that the templates of a decoder's card ask for."""
    measured = by_variant(run.evaluated.perplexities)
    dense, result = measured["dense"], measured[run.result.variant]
    healed, start = measured.get("healed"), _before_healing(measured)
    tables = score_tables(run.evaluated.scores.found)
    return {
        "run": run,
        "metadata": card_metadata(run).to_yaml(),
        "model_id": repo_id or f"./{run.name}",
        "repo_url": f"https://huggingface.co/{repo_id}" if repo_id else None,
        "origin": origin(run.source),
        **licence_section(run.source),
        "reads_images": False,
        "columns": _columns(run),
        "items": next((chosen for chosen in run.evaluated.choices if chosen.variant == result.variant), None),
        "cached_tokens": CACHED_TOKENS,
        "titles": _titles(run),
        "dense": dense,
        "cut": measured.get("cut"),
        "bridged": measured.get("bridged"),
        "result": result,
        "result_is_bridged": carries_bridge(run),
        "healing": run.healing,
        # What was not cut is not healed: there it is a training.
        "training": "healing" if run.plan.removed else "training",
        "healer": _healer(run),
        "lessons": LESSONS,
        "healing_steps": run.healing.curve[-1].step if run.healing.curve else 0,
        "head": _untied_head(run),
        "healed": healed,
        "start": start,
        "perplexity_ratio": result.perplexity / dense.perplexity,
        "loss_increase": result.loss - dense.loss,
        "has_error": dense.text.num_sequences > 1,
        "bridge_effect": effect(measured.get("cut"), measured.get("bridged")),
        "healing_effect": effect(start, healed),
        "bridged_layers": sorted({folded.layer for folded in published_bridge(run).folded}),
        "num_bridged_gaps": len({folded.block for folded in run.bridge.folded}),
        "depths": run.evaluated.depths,
        **(cut_section(run) if run.plan.removed else {}),
        **(growth_section(run, run.growth) if run.growth is not None else {}),
        **(depths_section(run) if run.evaluated.depths else {}),
        **damage_section(run),
        **change_section(run),
        "elsewhere": by_text(run.evaluated.perplexities_elsewhere),
        "score_tables": tables,
        "glance_rows": [row for kind in tables.values() for row in first_of_each_task(kind)[:SHOWN_TASKS]],
        "task_data": _asked(run),
        "further_texts": _further_texts(run),
        "harness": HARNESS,
        "formats": FORMATS,
        "notes": run.presentation.notes if run.presentation else None,
        "pictures": picture_paths(run),
    }


def _titles(run: Run) -> dict[str, str]:
    """What the tables call each variant."""
    if run.evaluated.depths:
        return {**TITLES, "healed": f"Sorted, all {run.dense.num_layers} layers"}
    if run.plan.removed:
        return TITLES
    return {**TITLES, "healed": "Grown and trained" if run.growth is not None else "Trained"}


def _healer(run: Run) -> str | None:
    """How the weights were trained, in a few words; None where they were not."""
    if run.healing.plan.method == "sorted" and not run.evaluated.depths:
        return "training all of its weights"
    if run.healing.plan.method == "sorted" and run.recipe.sample_depths:
        return "training its depths, one a step"
    return HEALERS.get(run.healing.plan.method)


def _before_healing(measured: Mapping[str, Perplexity]) -> Perplexity:
    """What the trained model is judged by: the last one before it."""
    return next(measured[variant] for variant in ("grown", "bridged", "cut", "dense") if variant in measured)


def _asked(run: Run) -> list[TaskScore]:
    """Each task once, with what it asked."""
    return list({score.task: score for score in run.evaluated.scores.found}.values())


def _further_texts(run: Run) -> list[tuple[str, TextTokens]]:
    """What was measured on beside the held-out text, each once, and what for."""
    texts = [("Evaluation", each.text) for each in run.evaluated.perplexities_elsewhere]
    texts += [("Writing", writing.text) for writing in run.evaluated.writings.found]
    return list({text.sha256: (role, text) for role, text in texts}.values())


def _columns(run: Run) -> list[_Column]:
    speeds = {speed.variant: speed for speed in run.evaluated.speeds.found}
    titles, columns = _titles(run), []
    choices = {chosen.variant: chosen for chosen in run.evaluated.choices}
    for measured in run.evaluated.perplexities:
        anatomy = run.anatomy_of(measured.variant)
        per_token = anatomy.key_value_bytes_per_token
        column = _Column(
            title=titles[measured.variant],
            published=measured.variant == run.result.variant,
            anatomy=anatomy,
            cache_bytes=per_token and per_token * CACHED_TOKENS,
            perplexity=measured,
            choices=choices.get(measured.variant),
            speed=speeds.get(measured.variant),
        )
        columns.append(column)
    return columns


def _untied_head(run: Run) -> _Head | None:
    """What the result has beside the original's tensors, if its head was parted from the embedding."""
    if not run.head_was_untied:
        return None
    result, before = run.result_anatomy, run.before_healing
    return _Head(result.parameters - before.parameters, result.size_bytes - before.size_bytes)


def origin(source: Source) -> str:
    """The original as a link; of a local folder the name alone: its path is nobody's business."""
    if source.repo_id is not None:
        return f"[{source.repo_id}](https://huggingface.co/{source.repo_id})"
    return code(Path(source.model).name or "a local model")
