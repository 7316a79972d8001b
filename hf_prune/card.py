"""The model card: from the record of a run to the text of README.md, its metadata and pictures.

Every figure comes from the `Run`; the templates have loops and ifs but no arithmetic.
Nothing here reads a model or reaches the Hub.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_prune.choose.blocks import ranges
from hf_prune.choose.criteria import CRITERIA, cornerstones
from hf_prune.records import Anatomy, Bridge, Healing, LayerScores, Perplexity, Source, Speed
from hf_prune.report import Run

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

HERE = Path(__file__).parent
TITLES = {"dense": "Original", "cut": "Cut", "bridged": "Cut and bridged", "healed": "Healed"}
HEALERS = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "partial": "training its last layers",
    "replace": "training the layers before the gaps",
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
HEALING = "plots/healing.png"
SHOWN_TRIALS = 8
CACHED_TOKENS = 1000  # the at-a-glance table gives the KV cache for this many
PIPELINE_TAGS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageTextToText": "image-text-to-text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One variant in the tables."""

    title: str
    published: bool
    anatomy: Anatomy
    cache_bytes: int | None  # of CACHED_TOKENS
    perplexity: Perplexity
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
    context = _context(run, repo_id) | {"depth": chosen, "layers": depth, "repo_id": repo_id}
    return rendered("depth_card.md.j2", context)


def render_pictures(run: Run) -> dict[str, bytes]:
    """The pictures that the card shows: PNG bytes by their path beside README.md."""
    from hf_prune import plots  # matplotlib takes a second to import

    pictures = {
        LAYER_MAP: plots.layer_map(run.plan, published_bridge(run)),
        LAYER_SCORES: plots.layer_scores(run.similarity, run.plan),
        SIMILARITY: plots.similarity_heatmap(run.similarity, run.plan),
        BLOCK_SIZES: plots.best_distance_per_block_size(run.similarity, run.plan),
    }
    if run.similarity.scores("loss") is not None:
        pictures[DROP_EFFECTS] = plots.drop_effects(run.similarity, run.plan)
    if run.plan.tournament is not None:
        pictures[TOURNAMENT] = plots.tournament(run.plan.tournament)
    if _has_curve(run.healing):
        pictures[HEALING] = plots.healing_curve(run.healing)
    return pictures


def card_metadata(run: Run) -> "ModelCardData":
    """What the Hub reads: the front matter of the card, figures unrounded."""
    from huggingface_hub import EvalResult

    measured = _by_variant(run.perplexities)[run.result.variant]
    results = None
    if measured.text.dataset is not None:
        results = [
            EvalResult(
                task_type="text-generation",
                dataset_type=measured.text.dataset,
                dataset_name=f"{measured.text.dataset} ({measured.text.name})",
                metric_type="perplexity",
                metric_name="perplexity on held-out text",
                metric_value=measured.perplexity,
            )
        ]
    return plain_metadata(run, PIPELINE_TAGS[run.result_anatomy.auto_class], results)


def plain_metadata(run: Run, pipeline_tag: str, results: "list[EvalResult] | None" = None) -> "ModelCardData":
    """What the Hub reads of any card.

    Args:
        run: what the card tells.
        pipeline_tag: of the Hub, by the task.
        results: figures that the Hub shows.
    """
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        base_model=run.source.repo_id,
        datasets=_datasets(run) or None,
        language=list(run.source.languages) or None,
        library_name="transformers",
        license=run.source.license,
        license_name=run.source.license_name,
        license_link=run.source.license_link,
        pipeline_tag=pipeline_tag,
        tags=["pruned", "layer-pruning", "depth-pruning", "hf-prune"],
        model_name=run.name,
        eval_results=results,
    )
    if run.source.repo_id is not None:
        metadata["base_model_relation"] = "finetune"  # the Hub has no word for pruned
    return metadata


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
        cell=cell,
        change=change,
        code=code,
        count=count,
        duration=duration,
        figure=figure,
        grouped=grouped,
        ranges=ranges,
        sentence=sentence,
        size=size,
        with_error=with_error,
    )
    return environment


def _refuse_none(value: Any) -> Any:
    if value is None:
        raise ValueError("the card's template prints a value that this run does not have")
    return value


def _context(run: Run, repo_id: str | None) -> dict[str, Any]:
    measured = _by_variant(run.perplexities)
    dense, result = measured["dense"], measured[run.result.variant]
    distances = [value for row in run.similarity.angular_last_token for value in row]
    num_removed = len(run.plan.removed)
    drop_effects = DROP_EFFECTS if run.similarity.scores("loss") is not None else None
    return {
        "run": run,
        "metadata": card_metadata(run).to_yaml(),
        "model_id": repo_id or f"./{run.name}",
        "origin": origin(run.source),
        "license_url": license_url(run.source),
        "columns": _columns(run),
        "cached_tokens": CACHED_TOKENS,
        "titles": TITLES,
        "dense": dense,
        "cut": measured.get("cut"),
        "bridged": measured.get("bridged"),
        "result": result,
        "result_is_bridged": carries_bridge(run),
        "healing": run.healing,
        "healers": HEALERS,
        "lessons": LESSONS,
        "healing_steps": run.healing.curve[-1].step if run.healing.curve else 0,
        "head": _untied_head(run),
        "healed": measured.get("healed"),
        "start": measured.get("bridged", measured.get("cut")),
        "perplexity_ratio": result.perplexity / dense.perplexity,
        "loss_increase": result.loss - dense.loss,
        "has_error": dense.text.num_sequences > 1,
        "bridge_effect": _effect(measured.get("cut"), measured.get("bridged")),
        "healing_effect": _effect(measured.get("bridged", measured.get("cut")), measured.get("healed")),
        "criterion": CRITERIA.get(run.plan.method),
        "tournament": run.plan.tournament,
        "shown_trials": SHOWN_TRIALS,
        "measured_criteria": [CRITERIA[s.criterion].title for s in _plotted(run)],
        "cornerstones": cornerstones(run.similarity) if drop_effects else (),
        "nearest": run.plan.best_blocks[num_removed - 1],
        "smallest_size": run.plan.best_blocks[0],
        "largest_size": run.plan.best_blocks[-1],
        "largest_distance": max(distances),
        "bridged_layers": sorted({folded.layer for folded in published_bridge(run).folded}),
        "num_bridged_gaps": len({folded.block for folded in run.bridge.folded}),
        "pictures": {
            "layer_map": LAYER_MAP,
            "similarity": SIMILARITY,
            "block_sizes": BLOCK_SIZES,
            "layer_scores": LAYER_SCORES,
            "tournament": TOURNAMENT,
            "drop_effects": drop_effects,
            "healing": HEALING if _has_curve(run.healing) else None,
        },
    }


def _plotted(run: Run) -> list[LayerScores]:
    return [s for s in run.similarity.layer_scores if s.criterion in CRITERIA and s.criterion != "loss"]


def _by_variant(perplexities: Iterable[Perplexity]) -> dict[str, Perplexity]:
    return {measured.variant: measured for measured in perplexities}


def _columns(run: Run) -> list[_Column]:
    speeds = {speed.variant: speed for speed in run.speeds}
    columns = []
    for measured in run.perplexities:
        anatomy = run.anatomy_of(measured.variant)
        per_token = anatomy.key_value_bytes_per_token
        column = _Column(
            title=TITLES[measured.variant],
            published=measured.variant == run.result.variant,
            anatomy=anatomy,
            cache_bytes=per_token and per_token * CACHED_TOKENS,
            perplexity=measured,
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
    result, cut = run.anatomy_of(run.result.variant), run.anatomy_of("cut")
    return _Head(result.parameters - cut.parameters, result.size_bytes - cut.size_bytes)


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


def _datasets(run: Run) -> list[str]:
    """Data sets of the Hub that the published weights were fitted on or trained on."""
    texts = [run.similarity.calibration, run.healing.text if run.healing.kept else None]
    return sorted({text.dataset for text in texts if text is not None and text.dataset is not None})


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


def count(value: float) -> str:
    """A number of things: 134.5M."""
    return _scaled(value, ("", "k", "M", "B", "T"), 4)


def size(num_bytes: float) -> str:
    """Bytes in decimal units: 269 MB."""
    return _scaled(num_bytes, (" B", " kB", " MB", " GB", " TB"), 3)


def _scaled(value: float, units: tuple[str, ...], digits: int) -> str:
    for unit in units[:-1]:
        rounded = float(f"{value:.{digits}g}")  # 999.96M is 1B, not 1000M
        if rounded < 1000:
            return f"{rounded:g}{unit}"
        value /= 1000
    return f"{value:.{digits}g}{units[-1]}"


def figure(value: float) -> str:
    """A measured figure in three or four digits: 43.2."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(digits, 0), 4)}f}" if abs(value) < 1e6 else f"{value:.3g}"


def grouped(value: int) -> str:
    """A whole number, exact: 299,520."""
    return f"{value:,}"


def sentence(text: str) -> str:
    """Words as a sentence begins."""
    return text[:1].upper() + text[1:]


def with_error(measured: Perplexity) -> str:
    """Perplexity and its standard error, by the delta method: 43.2 ± 1.2.

    The error of exp(loss) is that of the loss times exp(loss). One sequence has none.
    """
    error = measured.perplexity * measured.loss_stderr
    if measured.text.num_sequences < 2 or error == 0:
        return figure(measured.perplexity)
    if measured.perplexity >= 1e6:
        return f"{measured.perplexity:.3g} ± {error:.2g}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 4)
    return f"{measured.perplexity:.{digits}f} ± {error:.{digits}f}"


def change(after: float, before: float) -> str:
    """The change from `before` to `after`: -21 %."""
    percent = 100 * (after / before - 1)
    return f"{percent:+.0f} %" if abs(percent) >= 9.5 else f"{percent:+.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them: 3 min 41 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def code(text: str) -> str:
    """Text as Markdown code, whatever it holds."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def cell(text: str) -> str:
    """Text that a Markdown table can hold."""
    return " ".join(text.split()).replace("|", "\\|")
