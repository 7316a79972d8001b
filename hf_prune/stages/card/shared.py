"""What the card of a decoder and the card of an encoder have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prune.records import IMAGE_ENCODER, Agreement, Anatomy, Choices, Perplexity, Source, Speed, TextTokens
from hf_prune.stages.card.numbers import code
from hf_prune.stages.card.pictures import picture_paths
from hf_prune.stages.card.sections import (
    carries_bridge,
    change_section,
    cut_section,
    licence_section,
    published_bridge,
)
from hf_prune.stages.run import Run

TITLES = {
    "dense": "Original",
    "cut": "Cut",
    "bridged": "Cut and bridged",
    "grown": "Grown",
    "healed": "Healed",
}
CACHED_TOKENS = 1000  # the at-a-glance table gives the KV cache for this many


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One variant in the tables."""

    title: str
    published: bool
    anatomy: Anatomy
    cache_bytes: int | None  # of CACHED_TOKENS
    perplexity: Perplexity | None
    agreement: Agreement | None  # of an encoder with its original; None: the original
    choices: Choices | None
    speed: Speed | None


def shared_context(run: Run, repo_id: str | None) -> dict[str, Any]:
    """The values that the templates of both cards ask for."""
    published = run.result.variant
    return {
        "run": run,
        "model_id": repo_id or f"./{run.name}",
        "origin": origin(run.source),
        **licence_section(run.source),
        "reads_images": run.dense.kind == IMAGE_ENCODER,
        "titles": _titles(run),
        "columns": _columns(run),
        "items": next((each for each in run.evaluated.choices if each.variant == published), None),
        "task_data": list({score.task: score for score in run.evaluated.scores.found}.values()),
        "further_texts": _further_texts(run),
        "healing": run.healing,
        # A model without a cut is trained, not healed.
        "training": "healing" if run.plan.removed else "training",
        "result_is_bridged": carries_bridge(run),
        "bridged_layers": sorted({folded.layer for folded in published_bridge(run).folded}),
        "num_bridged_gaps": len({folded.block for folded in run.bridge.folded}),
        **(cut_section(run) if run.plan.removed else {}),
        **change_section(run),
        "notes": run.presentation.notes if run.presentation else None,
        "pictures": picture_paths(run),
    }


def origin(source: Source) -> str:
    """The original as a link, or the name of a local folder without its private path."""
    if source.repo_id is not None:
        return f"[{source.repo_id}](https://huggingface.co/{source.repo_id})"
    return code(Path(source.model).name or "a local model")


def _titles(run: Run) -> dict[str, str]:
    """The name of each variant in the tables."""
    if run.evaluated.depths:
        return {**TITLES, "healed": f"Sorted, all {run.dense.num_layers} layers"}
    if run.plan.removed:
        return TITLES
    return {**TITLES, "healed": "Grown and trained" if run.growth is not None else "Trained"}


def _columns(run: Run) -> list[Column]:
    """The measured variants: the original first, the published one last."""
    evaluated, titles = run.evaluated, _titles(run)
    perplexities = {each.variant: each for each in evaluated.perplexities}
    agreements = {each.variant: each for each in evaluated.agreements}
    choices = {each.variant: each for each in evaluated.choices}
    speeds = {each.variant: each for each in evaluated.speeds.found}
    columns = []
    for variant in dict.fromkeys(["dense", *perplexities, *agreements]):
        anatomy = run.anatomy_of(variant)
        per_token = anatomy.key_value_bytes_per_token
        column = Column(
            title=titles[variant],
            published=variant == run.result.variant,
            anatomy=anatomy,
            cache_bytes=per_token and per_token * CACHED_TOKENS,
            perplexity=perplexities.get(variant),
            agreement=agreements.get(variant),
            choices=choices.get(variant),
            speed=speeds.get(variant),
        )
        columns.append(column)
    return columns


def _further_texts(run: Run) -> list[tuple[str, TextTokens]]:
    """The texts that were measured on beside the held-out text, each once, with their purpose."""
    texts = [("Evaluation", each.text) for each in run.evaluated.perplexities_elsewhere]
    texts += [("Writing", writing.text) for writing in run.evaluated.writings.found]
    return list({text.sha256: (purpose, text) for purpose, text in texts}.values())
