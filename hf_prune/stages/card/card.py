"""The model card of a decoder: the text of README.md with its metadata, from the record of a run.

Every figure comes from the `Run`. The templates have loops and ifs but no arithmetic. Nothing here reads a
model or reaches the Hub.
"""

from typing import Any

from hf_prune.records import Perplexity
from hf_prune.stages.card.losses import damage_section, effect
from hf_prune.stages.card.metadata import HARNESS, card_metadata, perplexity_results
from hf_prune.stages.card.sections import (
    by_text,
    by_variant,
    depths_section,
    first_of_each_task,
    growth_section,
    score_tables,
)
from hf_prune.stages.card.shared import CACHED_TOKENS, shared_context
from hf_prune.stages.card.templates import BASE, rendered
from hf_prune.stages.run import Run

HEALERS = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "partial": "training its last layers",
    "replace": "training the layers before the gaps",
    "grown": "training only the new layers",
    "sorted": "training all depths together",
}
LESSONS = {
    "predictions": "the original's predictions",
    "text": "the text",
    "states": "the original's states after each gap",
}
FORMATS = {"onnx": "ONNX", "onnx-8bit": "ONNX, 8 bits", "gguf": "GGUF"}
SHOWN_TASKS = 3  # of each kind in the at-a-glance table; all are further down


def render_card(run: Run, repo_id: str | None = None) -> str:
    """The text of README.md. `repo_id` is None as long as the repository is not known."""
    return rendered(BASE, card_context(run, repo_id), run.presentation)


def render_depth_card(run: Run, depth: int, repo_id: str | None = None) -> str:
    """The text of README.md of the first `depth` layers of a sorted model.

    They are published on a branch of `repo_id`, or not at all if it is None.
    """
    measured = next((each for each in run.evaluated.depths if each.layers == depth), None)
    metadata = card_metadata(run)
    metadata.eval_results = (
        perplexity_results(measured.perplexity) if measured else None
    )  # not the whole model's
    context = card_context(run, repo_id) | {
        "metadata": metadata.to_yaml(),
        "depth": measured,
        "layers": depth,
        "repo_id": repo_id,
    }
    return rendered("depth_card.md.j2", context)


def card_context(run: Run, repo_id: str | None) -> dict[str, Any]:
    """Every value that the templates of a decoder's card ask for."""
    measured = by_variant(run.evaluated.perplexities)
    dense, result = measured["dense"], measured[run.result.variant]
    healed, before_healing = measured.get("healed"), _before_healing(measured)
    tables = score_tables(run.evaluated.scores.found)
    return {
        **shared_context(run, repo_id),
        "metadata": card_metadata(run).to_yaml(),
        "repo_url": f"https://huggingface.co/{repo_id}" if repo_id else None,
        "cached_tokens": CACHED_TOKENS,
        "dense": dense,
        "cut": measured.get("cut"),
        "bridged": measured.get("bridged"),
        "result": result,
        "healer": _healer(run),
        "lessons": LESSONS,
        "healing_steps": run.healing.curve[-1].step if run.healing.curve else 0,
        "head": _untied_head(run),
        "healed": healed,
        "start": before_healing,
        "perplexity_ratio": result.perplexity / dense.perplexity,
        "loss_increase": result.loss - dense.loss,
        "has_error": dense.text.num_sequences > 1,
        "bridge_effect": effect(measured.get("cut"), measured.get("bridged")),
        "healing_effect": effect(before_healing, healed),
        "depths": run.evaluated.depths,
        **(growth_section(run, run.growth) if run.growth is not None else {}),
        **(depths_section(run) if run.evaluated.depths else {}),
        **damage_section(run),
        "elsewhere": by_text(run.evaluated.perplexities_elsewhere),
        "score_tables": tables,
        "glance_rows": [row for rows in tables.values() for row in first_of_each_task(rows)[:SHOWN_TASKS]],
        "harness": HARNESS,
        "formats": FORMATS,
    }


def _healer(run: Run) -> str | None:
    """How the weights were trained, in a few words. None: they were not."""
    if run.healing.plan.method == "sorted" and not run.evaluated.depths:
        return "training all of its weights"
    if run.healing.plan.method == "sorted" and run.recipe.sample_depths:
        return "training one depth per step"
    return HEALERS.get(run.healing.plan.method)


def _before_healing(measured: dict[str, Perplexity]) -> Perplexity:
    """The last variant before the healing, with which the healed one is compared."""
    return next(measured[variant] for variant in ("grown", "bridged", "cut", "dense") if variant in measured)


def _untied_head(run: Run) -> dict[str, int] | None:
    """The parameters and bytes that healing added when it untied the head from the embedding."""
    if not run.head_was_untied:
        return None
    result, before = run.result_anatomy, run.before_healing
    return {
        "parameters": result.parameters - before.parameters,
        "size_bytes": result.size_bytes - before.size_bytes,
    }
