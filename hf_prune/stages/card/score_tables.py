"""The tables of a card that set tasks against variants."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hf_prune.records import Perplexity, TaskScore


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One figure of one task, of every variant that it was measured of."""

    task: str
    metric: str
    answer_filter: str
    num_fewshot: int
    num_items: int
    by_variant: Mapping[str, TaskScore]


def score_tables(scores: Iterable[TaskScore]) -> dict[str, list[ScoreRow]]:
    """The rows of tasks in which a model chooses ("chosen") and of those in which it writes ("written")."""
    tables: dict[str, dict[tuple[str, ...], list[TaskScore]]] = {"chosen": {}, "written": {}}
    for score in scores:
        rows = tables["written" if score.generates else "chosen"]
        rows.setdefault((score.task, score.metric, score.answer_filter), []).append(score)
    return {kind: [_row(same) for same in rows.values()] for kind, rows in tables.items()}


def first_of_each_task(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """One row for each task: of several metrics the one that is normalised by length, or else the first."""
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
