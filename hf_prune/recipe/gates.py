"""Quality gates: what a result must not be worse than, or it is kept and not published."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_prune.errors import RecipeError
from hf_prune.records import Perplexity, TaskScore

GATE = r"([^=:,\s]+)(?::([^=:,\s]+))?=([-+\d.eE]+)"


@dataclass(frozen=True, slots=True)
class Gate:
    """The worst score that is let through."""

    task: str
    metric: str | None  # None: the first that the task has
    value: float

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.task}{f':{self.metric}' if self.metric else ''}={self.value:g}"


def parse_gates(text: str | None) -> tuple[Gate, ...]:
    """The gates that "arc_easy=0.45,hellaswag:acc_norm=0.3" names.

    Raises:
        RecipeError: it is no such list.
    """
    return tuple(_gate(part) for part in (text.split(",") if text else ()))


def _gate(text: str) -> Gate:
    match = re.fullmatch(GATE, text.strip())
    try:
        return Gate(match[1], match[2], float(match[3])) if match else _no_gate(text)
    except ValueError:
        return _no_gate(text)


def _no_gate(text: str) -> Gate:
    raise RecipeError(f"--min-score {text!r} is not TASK=VALUE or TASK:METRIC=VALUE: arc_easy=0.45 is")


def refusals(
    variant: str,
    *,
    gates: Sequence[Gate],
    scores: Sequence[TaskScore],
    scores_reason: str | None,
    max_loss: float | None,
    perplexities: Sequence[Perplexity],
) -> tuple[str, ...]:
    """Everything in which a variant is worse than is let through, in words; nothing: it may be published.

    What was not measured is not let through.

    Args:
        variant: the one that is to be published.
        gates: the worst scores that are let through.
        scores: of all variants.
        scores_reason: why some are missing.
        max_loss: nats per token that its loss on the held-out text may be above the original's; None: any.
        perplexities: of all variants, the original's first.
    """
    own = [score for score in scores if score.variant == variant]
    found = [refusal for gate in gates for refusal in _refused(gate, own, scores_reason)]
    if max_loss is not None:
        rise = next(p.loss for p in perplexities if p.variant == variant) - perplexities[0].loss
        if not rise <= max_loss:
            found.append(
                f"the loss on held-out text is {_shown(rise, max_loss)} nats per token above the original's, "
                f"more than --max-loss {max_loss:g}"
            )
    return tuple(found)


def _refused(gate: Gate, scores: Sequence[TaskScore], reason: str | None) -> Iterator[str]:
    of_task = [score for score in scores if score.task == gate.task]
    score = next((score for score in of_task if gate.metric in (None, score.metric)), None)
    if score is None and of_task:
        metrics = ", ".join(dict.fromkeys(each.metric for each in of_task))
        yield f"{gate.task} has no {gate.metric} for --min-score {gate}, but {metrics}"
    elif score is None:
        yield f"{gate.task} was not measured for --min-score {gate}{f': {reason}' if reason else ''}"
    elif score.higher_is_better and not score.value >= gate.value:
        yield _worse(score, "below", gate)
    elif not score.higher_is_better and not score.value <= gate.value:
        yield _worse(score, "above", gate)


def _worse(score: TaskScore, where: str, gate: Gate) -> str:
    value = _shown(score.value, gate.value)
    return f"{gate.task} {score.metric} {value} is {where} --min-score {gate.value:g}"


def _shown(value: float, limit: float) -> str:
    """With as many digits as it takes to tell it from the limit."""
    return next(
        (text for digits in range(3, 17) if float(text := f"{value:.{digits}g}") != limit), f"{value}"
    )
