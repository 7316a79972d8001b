"""Quality gates: a result that is worse than they allow is kept, but not published."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_prune.errors import RecipeError
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import TaskScore
from hf_prune.records.evaluated import Evaluated

GATE = r"([^=:,\s]+)(?::([^=:,\s]+))?=([-+\d.eE]+)"


@dataclass(frozen=True, slots=True)
class Gate:
    """The worst score that passes."""

    task: str
    metric: str | None  # None: the task's first
    value: float

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.task}{f':{self.metric}' if self.metric else ''}={self.value:g}"


def parse_gates(text: str | None) -> tuple[Gate, ...]:
    """The gates that "arc_easy=0.45,hellaswag:acc_norm=0.3" names.

    Raises:
        RecipeError: it is no such list.
    """
    return tuple(_parse_gate(part) for part in (text.split(",") if text else ()))


def _parse_gate(text: str) -> Gate:
    match = re.fullmatch(GATE, text.strip())
    try:
        if match:
            return Gate(match[1], match[2], float(match[3]))
    except ValueError:
        pass
    raise RecipeError(f"--min-score {text!r} is not TASK=VALUE or TASK:METRIC=VALUE: arc_easy=0.45 is")


def refusals(variant: str, recipe: Recipe, evaluated: Evaluated) -> tuple[str, ...]:
    """Why a variant may not be published, one sentence for each gate that it fails; none: it may.

    A gate whose score was not measured fails.
    """
    own = [score for score in evaluated.scores.found if score.variant == variant]
    gates = parse_gates(recipe.min_score)
    failed = [refusal for gate in gates for refusal in _refusal(gate, own, evaluated.scores.reason)]
    if recipe.max_loss is not None:
        losses = evaluated.perplexities
        rise = next(each.loss for each in losses if each.variant == variant) - losses[0].loss
        if not rise <= recipe.max_loss:  # NaN fails too
            failed.append(
                f"the loss on held-out text is {_unlike(recipe.max_loss, rise)} nats per token above the "
                f"original's, more than --max-loss {recipe.max_loss:g}"
            )
    return tuple(failed)


def _refusal(gate: Gate, scores: Sequence[TaskScore], reason: str | None) -> Iterator[str]:
    of_task = [score for score in scores if score.task == gate.task]
    score = next((score for score in of_task if gate.metric in (None, score.metric)), None)
    if score is None and of_task:
        metrics = ", ".join(dict.fromkeys(each.metric for each in of_task))
        yield f"{gate.task} has no {gate.metric} for --min-score {gate}, but {metrics}"
    elif score is None:
        yield f"{gate.task} was not measured for --min-score {gate}{f': {reason}' if reason else ''}"
    else:
        passes = score.value >= gate.value if score.higher_is_better else score.value <= gate.value
        if not passes:
            where, value = "below" if score.higher_is_better else "above", _unlike(gate.value, score.value)
            yield f"{gate.task} {score.metric} {value} is {where} --min-score {gate.value:g}"


def _unlike(limit: float, value: float) -> str:
    """A value with as many digits as tell it from its limit."""
    for digits in range(3, 17):
        text = f"{value:.{digits}g}"
        if float(text) != limit:
            return text
    return f"{value}"
