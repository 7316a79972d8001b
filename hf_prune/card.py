"""The model card: from the record of a run to the text of README.md, its metadata and pictures.

Every figure comes from the `Run`; the templates have loops and ifs but no arithmetic.
Nothing here reads a model or reaches the Hub.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_prune.choose.blocks import ranges
from hf_prune.figures import (
    accuracy,
    cell,
    change,
    code,
    count,
    duration,
    figure,
    grouped,
    percent,
    sentence,
    series,
    size,
    with_error,
)
from hf_prune.front_matter import card_metadata, perplexity_results
from hf_prune.records import (
    Anatomy,
    Bridge,
    Choices,
    Healing,
    Perplexity,
    Source,
    Speed,
)
from hf_prune.report import Run
from hf_prune.sections import by_variant, cut_section, depths_section, growth_section

HERE = Path(__file__).parent
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
LAYER_MAP = "plots/layer_map.png"
SIMILARITY = "plots/similarity.png"
BLOCK_SIZES = "plots/block_sizes.png"
LAYER_SCORES = "plots/layer_scores.png"
DROP_EFFECTS = "plots/drop_effects.png"
TOURNAMENT = "plots/tournament.png"
GROWTH = "plots/growth.png"
DEPTHS = "plots/depths.png"
HEALING = "plots/healing.png"
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
    return rendered("model_card.md.j2", _context(run, repo_id))


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """A card's template with its values, without the blank lines that unused sections leave."""
    text = _environment().get_template(template).render(context)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def render_depth_card(run: Run, depth: int, repo_id: str | None = None) -> str:
    """The text of README.md of one depth of a sorted model.

    Args:
        run: that made the sorted model.
        depth: how many of its first layers.
        repo_id: where it is published, on a branch of its own; None: nowhere.
    """
    chosen = next((each for each in run.depths if each.layers == depth), None)
    metadata = card_metadata(run)
    metadata.eval_results = perplexity_results(chosen.perplexity) if chosen else None  # not the whole model's
    context = _context(run, repo_id) | {
        "metadata": metadata.to_yaml(),
        "depth": chosen,
        "layers": depth,
        "repo_id": repo_id,
    }
    return rendered("depth_card.md.j2", context)


def render_pictures(run: Run) -> dict[str, bytes]:
    """The pictures that the card shows: PNG bytes by their path beside README.md."""
    from hf_prune import plots  # matplotlib takes a second to import

    pictures = _pictures_of_cut(run) if run.plan.removed else {}
    if _has_layer_map(run):
        pictures[LAYER_MAP] = plots.layer_map(run.plan, published_bridge(run), run.growth)
    if run.growth is not None:
        pictures[GROWTH] = plots.growth(run.growth, run.plan)
    if run.depths:
        pictures[DEPTHS] = plots.depths(run.depths)
    if _has_curve(run.healing):
        pictures[HEALING] = plots.healing_curve(run.healing)
    return pictures


def _pictures_of_cut(run: Run) -> dict[str, bytes]:
    """Why these layers went."""
    from hf_prune import plots

    pictures = {
        LAYER_SCORES: plots.layer_scores(run.similarity, run.plan),
        SIMILARITY: plots.similarity_heatmap(run.similarity, run.plan),
        BLOCK_SIZES: plots.best_distance_per_block_size(run.similarity, run.plan),
    }
    if run.similarity.scores("loss") is not None:
        pictures[DROP_EFFECTS] = plots.drop_effects(run.similarity, run.plan)
    if run.plan.tournament is not None:
        pictures[TOURNAMENT] = plots.tournament(run.plan.tournament)
    return pictures


def _environment() -> Environment:
    environment = Environment(
        # The first is where the wheel has them, the second where an editable install does.
        loader=FileSystemLoader([HERE / "templates", HERE.parent / "templates"]),
        undefined=StrictUndefined,
        finalize=_refuse_none,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The output is Markdown: escaped for HTML, every `&` and quote in it would be wrong.
        autoescape=False,
    )
    environment.filters.update(
        accuracy=accuracy,
        cell=cell,
        change=change,
        code=code,
        count=count,
        duration=duration,
        figure=figure,
        grouped=grouped,
        percent=percent,
        ranges=ranges,
        sentence=sentence,
        series=series,
        size=size,
        with_error=with_error,
    )
    return environment


def _refuse_none(value: Any) -> Any:
    if value is None:
        raise ValueError("the card's template prints a value that this run does not have")
    return value


def _context(run: Run, repo_id: str | None) -> dict[str, Any]:
    measured = by_variant(run.perplexities)
    dense, result = measured["dense"], measured[run.result.variant]
    healed, start = measured.get("healed"), _before_healing(measured)
    return {
        "run": run,
        "metadata": card_metadata(run).to_yaml(),
        "model_id": repo_id or f"./{run.name}",
        "repo_url": f"https://huggingface.co/{repo_id}" if repo_id else None,
        "origin": origin(run.source),
        "license_url": license_url(run.source),
        "reads_images": False,
        "columns": _columns(run),
        "items": next((chosen for chosen in run.choices if chosen.variant == result.variant), None),
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
        "bridge_effect": _effect(measured.get("cut"), measured.get("bridged")),
        "healing_effect": _effect(start, healed),
        "bridged_layers": sorted({folded.layer for folded in published_bridge(run).folded}),
        "num_bridged_gaps": len({folded.block for folded in run.bridge.folded}),
        "depths": run.depths,
        **(cut_section(run) if run.plan.removed else {}),
        **(growth_section(run, run.growth) if run.growth is not None else {}),
        **(depths_section(run) if run.depths else {}),
        "pictures": {
            "layer_map": LAYER_MAP if _has_layer_map(run) else None,
            "similarity": SIMILARITY,
            "block_sizes": BLOCK_SIZES,
            "layer_scores": LAYER_SCORES,
            "tournament": TOURNAMENT,
            "drop_effects": DROP_EFFECTS if run.similarity.scores("loss") is not None else None,
            "growth": GROWTH,
            "depths": DEPTHS,
            "healing": HEALING if _has_curve(run.healing) else None,
        },
    }


def _titles(run: Run) -> dict[str, str]:
    """What the tables call each variant."""
    if run.depths:
        return {**TITLES, "healed": f"Sorted, all {run.dense.num_layers} layers"}
    if run.plan.removed:
        return TITLES
    return {**TITLES, "healed": "Grown and trained" if run.growth is not None else "Trained"}


def _healer(run: Run) -> str | None:
    """How the weights were trained, in a few words; None where they were not."""
    if run.healing.plan.method == "sorted" and run.recipe.sample_depths:
        return "training its depths, one a step"
    return HEALERS.get(run.healing.plan.method)


def _before_healing(measured: Mapping[str, Perplexity]) -> Perplexity:
    """What the trained model is judged by: the last one before it."""
    return next(measured[variant] for variant in ("grown", "bridged", "cut", "dense") if variant in measured)


def _has_layer_map(run: Run) -> bool:
    """Whether any layer was removed or added."""
    return bool(run.plan.removed) or run.growth is not None


def _columns(run: Run) -> list[_Column]:
    speeds = {speed.variant: speed for speed in run.speeds}
    titles, columns = _titles(run), []
    choices = {chosen.variant: chosen for chosen in run.choices}
    for measured in run.perplexities:
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


def published_bridge(run: Run) -> Bridge:
    """The bridge that the published checkpoint carries, if it carries one."""
    return run.bridge if carries_bridge(run) else replace(run.bridge, folded=())


def carries_bridge(run: Run) -> bool:
    """Whether the published checkpoint is the bridged one, or was trained from it."""
    measured = {p.variant for p in run.perplexities} | {a.variant for a in run.agreements}
    return run.result.variant != "cut" and "bridged" in measured


def _untied_head(run: Run) -> _Head | None:
    """What the result has beside the original's tensors, if its head was parted from the embedding."""
    if not run.head_was_untied:
        return None
    result, before = run.result_anatomy, run.before_healing
    return _Head(result.parameters - before.parameters, result.size_bytes - before.size_bytes)


def _effect(before: Perplexity | None, after: Perplexity | None) -> str | None:
    """Whether a repair helped: "better", "worse", or "unclear" within a standard error."""
    if before is None or after is None:
        return None
    if abs(before.loss - after.loss) <= max(before.loss_stderr, after.loss_stderr):
        return "unclear"
    return "better" if after.loss < before.loss else "worse"


def _has_curve(healing: Healing) -> bool:
    """Whether the watched loss was looked at often enough for a line."""
    return sum(point.watched_loss is not None for point in healing.curve) > 1


def origin(source: Source) -> str:
    """The original as a link; of a local folder the name alone: its path is nobody's business."""
    if source.repo_id is not None:
        return f"[{source.repo_id}](https://huggingface.co/{source.repo_id})"
    return code(Path(source.model).name or "a local model")


def license_url(source: Source) -> str | None:
    """Where the licence can be read; a path is one in the original's repository."""
    link = source.license_link
    if link is None or re.match(r"https?://", link):
        return link
    return f"https://huggingface.co/{source.repo_id}/blob/main/{link}" if source.repo_id else None
