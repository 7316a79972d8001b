"""What was measured of models: a row for each figure, a column for each model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hf_prune.cli.console.terminal import print_result, print_table, tell
from hf_prune.records.evaluated import Evaluated

if TYPE_CHECKING:
    from hf_prune.commands.evaluate import EvaluatedModel


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of each variant that has it."""

    name: str
    form: str  # as format() takes it: ".2f"
    values: Mapping[str, float]  # by variant
    unit: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)  # standard errors, by variant

    def cell(self, variant: str) -> str:
        """A figure with its standard error, if it has one."""
        if variant not in self.values:
            return ""
        error = self.errors.get(variant)
        shown = f"{self.values[variant]:{self.form}}"
        return shown + (f" ± {error:{self.form}}" if error is not None else "") + self.unit

    def difference(self) -> str:
        """The last variant's figure less the first one's."""
        first, *others = self.values.values()
        return f"{others[-1] - first:+{self.form}}{self.unit}" if others else ""


def show_evaluation(evaluated: "EvaluatedModel", *, as_json: bool) -> None:
    """Show what was measured of a model: one JSON object, or a table and the path of evaluation.json."""
    evaluation, folder = evaluated.evaluation, evaluated.folder
    if not as_json:
        measured = evaluation.evaluated
        variants = variants_of(measured)
        columns = ["", *variants, "difference"]
        rows = [[row.name, *map(row.cell, variants), row.difference()] for row in rows_of(measured)]
        if len(variants) == 1:
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        print_table(evaluation.name, columns, rows, left=1)
        show_missing(measured)
    content = {"folder": str(folder), "refused": evaluated.refused, "evaluation": asdict(evaluation)}
    print_result(content, str(folder / "evaluation.json"), as_json=as_json)


def variants_of(evaluated: Evaluated) -> list[str]:
    """The variants that were measured, the original first."""
    by_text = [each.variant for each in evaluated.perplexities]
    return by_text or ["dense", *(each.variant for each in evaluated.agreements)]


def rows_of(evaluated: Evaluated, *, narrow: bool = False) -> Iterator[Row]:
    """Everything that was measured, in the order of the table.

    `narrow` leaves out the standard errors of loss and accuracy, to make room for more variants.
    """
    rows = (*_rows_of_text(evaluated, narrow), *_rows_of_tasks(evaluated), *_rows_of_speed(evaluated))
    return (row for row in rows if row.values)


def _rows_of_text(evaluated: Evaluated, narrow: bool) -> Iterator[Row]:
    texts, elsewhere, choices = evaluated.perplexities, evaluated.perplexities_elsewhere, evaluated.choices
    yield Row("perplexity", ".2f", _column(texts, "perplexity"))
    errors = {} if narrow else _column(texts, "loss_stderr")
    yield Row("loss, nats per token", ".4f", _column(texts, "loss"), "", errors)
    for first in elsewhere[:1]:
        yield Row(f"perplexity, {first.text.name}", ".2f", _column(elsewhere, "perplexity"))
    yield Row("cosine to dense", ".4f", _column(evaluated.agreements, "cosine"))
    errors = {} if narrow else _column(choices, "accuracy_stderr", 100)
    yield Row("multiple choice, accuracy", ".1f", _column(choices, "accuracy", 100), " %", errors)
    yield Row("  agreement", ".1f", _column(choices, "agreement", 100), " %")
    yield Row("  stability", ".1f", _column(choices, "stability", 100), " %")


def _rows_of_tasks(evaluated: Evaluated) -> Iterator[Row]:
    names = {}
    for score in evaluated.scores.found:
        filtered = "" if score.answer_filter == "none" else f", {score.answer_filter}"
        names[f"{score.task} {score.metric}{filtered}"] = (score.task, score.metric, score.answer_filter)
    for name, key in names.items():
        scores = [s for s in evaluated.scores.found if (s.task, s.metric, s.answer_filter) == key]
        yield Row(name, ".4f", _column(scores, "value"), "", _column(scores, "stderr"))
    yield Row("repetition", ".1f", _column(evaluated.writings.found, "repetition", 100), " %")


def _rows_of_speed(evaluated: Evaluated) -> Iterator[Row]:
    speeds = evaluated.speeds.found
    yield Row("first token", ".0f", _column(speeds, "first_token_seconds", 1000), " ms")
    yield Row("tokens/s", ".1f", _column(speeds, "decode_tokens_per_second"))
    yield Row("  in a batch", ".1f", _column(speeds, "batch_tokens_per_second"))
    yield Row("peak memory", ",.0f", _column(speeds, "peak_memory_bytes", 1e-6), " MB")


def _column(measured: Sequence[Any], name: str, scale: float = 1) -> dict[str, float]:
    found = {each.variant: getattr(each, name) for each in measured}
    return {variant: scale * value for variant, value in found.items() if value is not None}


def show_missing(evaluated: Evaluated) -> None:
    """Say what was not measured, and why."""
    for message, reason in (
        ("speed was not measured", evaluated.speeds.reason),
        ("not all tasks were measured", evaluated.scores.reason),
        ("writing was not measured", evaluated.writings.reason),
        ("as a draft it was not measured", evaluated.speculations.reason),
    ):
        if reason:
            tell(f"{message}: {reason}")
