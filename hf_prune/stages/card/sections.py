"""The values of single sections of the card: removed and new layers, depths, the licence, scores."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_prune.recipe.criteria import CRITERIA
from hf_prune.records import Bridge, Growth, Perplexity, Source, TaskScore
from hf_prune.records.blocks import all_but, ranges
from hf_prune.stages.choose.criteria import cornerstones
from hf_prune.stages.run import Run
from hf_prune.stages.source.companions import is_licence
from hf_prune.stages.source.licence import notice_file, terms_of

SHOWN_TRIALS = 8


def by_variant(perplexities: Iterable[Perplexity]) -> dict[str, Perplexity]:
    """Perplexities by their variant."""
    return {measured.variant: measured for measured in perplexities}


def cut_section(run: Run) -> dict[str, Any]:
    """The removed layers and why they were chosen. The run removed some."""
    similarity, best_blocks = run.similarity, run.plan.best_blocks
    plotted = [s.criterion for s in similarity.layer_scores if s.criterion in CRITERIA]
    return {
        "criterion": CRITERIA.get(run.plan.method),
        "tournament": run.plan.tournament,
        "shown_trials": SHOWN_TRIALS,
        "measured_criteria": [CRITERIA[name].title for name in plotted if name != "loss"],
        "cornerstones": cornerstones(similarity) if similarity.scores("loss") is not None else (),
        "nearest": best_blocks[len(run.plan.removed) - 1],
        "smallest_size": best_blocks[0],
        "largest_size": best_blocks[-1],
        "largest_distance": max(value for row in similarity.angular_last_token for value in row),
    }


def change_section(run: Run) -> dict[str, Any]:
    """The scores of the version that was published before, next to those of this one."""
    variant, before = run.result.variant, run.before.scores if run.before else ()
    new = {score.asked: score for score in run.evaluated.scores.found if score.variant == variant}
    return {"scores_before": [(old, new[old.asked]) for old in before if old.asked in new]}


def growth_section(run: Run, growth: Growth) -> dict[str, Any]:
    """The new layers and what was measured where they are. Old layers have the original's numbers."""
    kept = run.plan.kept  # growth numbers the layers of the cut model
    inside = kept[growth.shallow.start : growth.shallow.end]
    first, last = inside[0], inside[-1]
    shallow = range(first, last + 1)
    deep = all_but(shallow, run.plan.num_layers)
    checks = [check for proof in run.proofs if proof.variant == "grown" for check in proof.checks]
    return {
        "growth": growth,
        "followed": [kept[layer] for layer in growth.after],
        "among": f"the first {last + 1}" if first == 0 else f"layers {first}-{last}",
        "shallow": ranges(shallow),
        "deep": ranges(deep),
        "rises": {
            name: (_mean(growth.removal_losses, layers), _mean(growth.expansion_losses, layers))
            for name, layers in (("shallow", shallow), ("deep", deep))
        },
        "same_logits": [check for check in checks if check.name.startswith("logits")],
    }


def _mean(losses: Sequence[float], layers: Sequence[int]) -> float | None:
    return statistics.fmean(losses[layer] for layer in layers) if layers else None


def depths_section(run: Run) -> dict[str, Any]:
    """The depths of a sorted model that are shorter than the whole model, and their losses in training."""
    return {
        "shorter": [depth for depth in run.evaluated.depths if depth.layers < run.dense.num_layers],
        "speed_by_depth": any(depth.speed for depth in run.evaluated.depths),
        "losses_by_depth": {
            loss.layers: loss for loss in run.healing.depths if None not in (loss.before, loss.after)
        },
    }


def published_bridge(run: Run) -> Bridge:
    """The bridge of the published checkpoint, without any folded tensor if that has no bridge."""
    return run.bridge if carries_bridge(run) else replace(run.bridge, folded=())


def carries_bridge(run: Run) -> bool:
    """Whether the published checkpoint is the bridged one or was trained from it."""
    measured = {p.variant for p in run.evaluated.perplexities} | {a.variant for a in run.evaluated.agreements}
    return run.result.variant != "cut" and "bridged" in measured


def licence_section(source: Source) -> dict[str, Any]:
    """The licence of this model and what it requires of you when you publish."""
    terms = terms_of(source.license, source.license_name)
    notice = notice_file(terms, source.legal_files)
    return {
        "terms": terms,
        "license_url": license_url(source),
        "legal_files": list(dict.fromkeys([*source.legal_files, *filter(None, [notice])])),
        "lacks_licence": terms.copy and not any(map(is_licence, source.legal_files)),
    }


def license_url(source: Source) -> str | None:
    """The address of the licence. A path belongs to the original's repository."""
    link = source.license_link
    if link is None or re.match(r"https?://", link):
        return link
    return f"https://huggingface.co/{source.repo_id}/blob/main/{link}" if source.repo_id else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One figure of one task, for every variant that it was measured for."""

    task: str
    metric: str
    answer_filter: str
    num_fewshot: int
    num_items: int
    by_variant: Mapping[str, TaskScore]


def score_tables(scores: Iterable[TaskScore]) -> dict[str, list[ScoreRow]]:
    """The rows of the tasks scored by likelihood ("chosen") and with a written answer ("written")."""
    tables: dict[str, dict[tuple[str, ...], list[TaskScore]]] = {"chosen": {}, "written": {}}
    for score in scores:
        rows = tables["written" if score.generates else "chosen"]
        rows.setdefault((score.task, score.metric, score.answer_filter), []).append(score)
    return {kind: [_row(same_figure) for same_figure in rows.values()] for kind, rows in tables.items()}


def first_of_each_task(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """One row for each task: the metric normalised by length if there is one, or else the first."""
    chosen: dict[str, ScoreRow] = {}
    for row in rows:
        if row.task not in chosen or row.metric == "acc_norm":
            chosen[row.task] = row
    return list(chosen.values())


def _row(scores: list[TaskScore]) -> ScoreRow:
    first = scores[0]
    return ScoreRow(
        task=first.task,
        metric=first.metric,
        answer_filter=first.answer_filter,
        num_fewshot=first.num_fewshot,
        num_items=first.num_items,
        by_variant={score.variant: score for score in scores},
    )


def by_text(perplexities: Iterable[Perplexity]) -> dict[str, dict[str, Perplexity]]:
    """Perplexities by the name of the text, then by variant."""
    texts: dict[str, dict[str, Perplexity]] = {}
    for each in perplexities:
        texts.setdefault(each.text.name, {})[each.variant] = each
    return texts
