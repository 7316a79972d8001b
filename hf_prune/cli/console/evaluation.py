"""What `hf-prune eval` found: a row for each figure, a column for each model."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.table import Table

from hf_prune.cli.console.terminal import print_table, tell
from hf_prune.records import TaskScore
from hf_prune.stages.run import Evaluation

if TYPE_CHECKING:
    from hf_prune.commands.evaluate import EvaluatedModel

Figure = tuple[str, str, dict[str, float], dict[str, float]]  # name, form, values and errors by variant


def show_evaluation(evaluated: "EvaluatedModel", *, as_json: bool) -> None:
    """What a model came to: one JSON object, or a table, and where evaluation.json is."""
    evaluation, folder = evaluated.evaluation, evaluated.folder
    if as_json:
        told = {"folder": str(folder), "refused": evaluated.refused, "evaluation": asdict(evaluation)}
        click.echo(json.dumps(told, sort_keys=True))
        return
    _show_measured(evaluation)
    if evaluation.evaluated.speeds.reason:
        tell(f"speed was not measured: {evaluation.evaluated.speeds.reason}")
    if evaluation.evaluated.scores.reason:
        tell(f"not all tasks were measured: {evaluation.evaluated.scores.reason}")
    click.echo(str(folder / "evaluation.json"))


def _show_measured(evaluation: Evaluation) -> None:
    """A row for each figure, a column for each model, and one for their difference."""
    variants = [measured.variant for measured in evaluation.evaluated.perplexities]
    table = Table(title=evaluation.name)
    for column in ("", *variants, *(["difference"] if len(variants) > 1 else [])):
        table.add_column(column, justify="right" if column else "left")
    for name, form, values, errors in _measured(evaluation):
        if not values:
            continue
        found = [values[variant] for variant in variants if variant in values]
        cells = [
            with_error(form, values[variant], errors.get(variant)) if variant in values else ""
            for variant in variants
        ]
        difference = [f"{found[-1] - found[0]:+{form}}"] if len(found) > 1 else []
        table.add_row(name, *cells, *difference)
    print_table(table)


def _measured(evaluation: Evaluation) -> Iterator[Figure]:
    """Everything that was measured, in the order of the table."""
    losses, choices = evaluation.evaluated.perplexities, evaluation.evaluated.choices
    yield "perplexity", ".2f", {p.variant: p.perplexity for p in losses}, {}
    yield (
        "loss, nats per token",
        ".4f",
        {p.variant: p.loss for p in losses},
        {p.variant: p.loss_stderr for p in losses},
    )
    for p in evaluation.evaluated.perplexities_elsewhere[:1]:
        elsewhere = {p.variant: p.perplexity for p in evaluation.evaluated.perplexities_elsewhere}
        yield f"perplexity, {p.text.name}", ".2f", elsewhere, {}
    errors = {c.variant: c.accuracy_stderr for c in choices}
    yield "multiple choice, accuracy", ".3f", {c.variant: c.accuracy for c in choices}, errors
    yield "  agreement", ".3f", {c.variant: c.agreement for c in choices if c.agreement is not None}, {}
    yield "  stability", ".3f", {c.variant: c.stability for c in choices if c.stability is not None}, {}
    for name, scores in by_figure(evaluation.evaluated.scores.found).items():
        errors = {s.variant: s.stderr for s in scores if s.stderr is not None}
        yield name, ".4f", {s.variant: s.value for s in scores}, errors
    yield "repetition", ".3f", {w.variant: w.repetition for w in evaluation.evaluated.writings.found}, {}
    speeds = evaluation.evaluated.speeds.found
    yield "tokens/s", ".1f", {s.variant: s.decode_tokens_per_second for s in speeds}, {}
    yield "peak memory, MB", ",.0f", {s.variant: s.peak_memory_bytes / 1e6 for s in speeds}, {}


def by_figure(scores: Sequence[TaskScore]) -> dict[str, list[TaskScore]]:
    """What each variant has of each figure of each task, by its name."""
    found: dict[str, list[TaskScore]] = {}
    for score in scores:
        filtered = "" if score.answer_filter == "none" else f", {score.answer_filter}"
        found.setdefault(f"{score.task} {score.metric}{filtered}", []).append(score)
    return found


def with_error(form: str, value: float, error: float | None) -> str:
    """A figure and its standard error, where it has one."""
    return f"{value:{form}}" + (f" ± {error:{form}}" if error is not None else "")
