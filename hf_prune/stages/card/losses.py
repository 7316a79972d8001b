"""What the published model lost against its original, judged by the figures of a run.

A difference within its standard errors does not count. The errors of two variants are taken as independent,
but they are not if both answered the same items. So a small true difference may be called unclear.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_prune.records import Perplexity, TaskScore, Writing
from hf_prune.stages.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """Perplexity on one text, before and after."""

    before: Perplexity
    after: Perplexity
    verdict: str  # "higher", "lower" or "unclear"

    @property
    def times(self) -> float:
        """The perplexity as a multiple of the original's."""
        return self.after.perplexity / self.before.perplexity


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """One figure of a task, before and after."""

    before: TaskScore
    after: TaskScore

    @property
    def left(self) -> float:
        """The share of the original's figure that is left, or its inverse if lower is better."""
        before, after = self.before.value, self.after.value
        if not self.before.higher_is_better:
            before, after = after, before
        return after / before if before else math.inf

    @property
    def clear(self) -> bool:
        """Whether it fell by more than its standard errors."""
        error = math.hypot(self.before.stderr or 0.0, self.after.stderr or 0.0)
        return self.left < 1 and abs(self.after.value - self.before.value) > error


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The task that lost most, of all tasks of a kind."""

    worst: Fall
    num_figures: int  # of all these tasks
    num_clear: int  # that fell by more than their standard errors


def verdict(before: Perplexity, after: Perplexity) -> str:
    """Whether a perplexity is "higher", "lower", or "unclear" within a standard error of the loss."""
    judged = effect_of(before.loss - after.loss, before.loss_stderr, after.loss_stderr)
    return {"better": "lower", "worse": "higher", "unclear": "unclear"}[judged]


def effect(before: Perplexity | None, after: Perplexity | None) -> str | None:
    """Whether a repair helped: "better", "worse", or "unclear" within a standard error of the loss."""
    if before is None or after is None:
        return None
    return effect_of(before.loss - after.loss, before.loss_stderr, after.loss_stderr)


def effect_of(improvement: float, *errors: float) -> str:
    """Whether an improvement is "better", "worse", or "unclear" within the largest of these errors."""
    if abs(improvement) <= max(errors):
        return "unclear"
    return "better" if improvement > 0 else "worse"


def rises(perplexities: Sequence[Perplexity], variant: str) -> list[Rise]:
    """The perplexity of a variant and of the original on each text that both read, in their order."""
    after = {each.text.name: each for each in perplexities if each.variant == variant}
    return [
        Rise(before=each, after=after[each.text.name], verdict=verdict(each, after[each.text.name]))
        for each in perplexities
        if each.variant == "dense" and each.text.name in after
    ]


def hardest_hit(scores: Iterable[TaskScore], variant: str, *, generates: bool) -> Hit | None:
    """The task figure of which the smallest share is left. None: no such task was measured for both.

    `generates` selects tasks with a written answer. Otherwise those scored by likelihood are compared.
    """
    of_kind = [score for score in scores if score.generates is generates]
    after = {_figure(score): score for score in of_kind if score.variant == variant}
    falls = [
        Fall(before=score, after=after[_figure(score)])
        for score in of_kind
        if score.variant == "dense" and _figure(score) in after
    ]
    if not falls:
        return None
    worst = min(falls, key=lambda fall: (not fall.clear, fall.left))
    return Hit(worst=worst, num_figures=len(falls), num_clear=sum(fall.clear for fall in falls))


def _figure(score: TaskScore) -> tuple[str, str, str]:
    return score.task, score.metric, score.answer_filter


def repeats(before: Writing, after: Writing) -> str:
    """Whether a variant repeats itself "more" or "less" than the original, or whether that is "unclear"."""
    error = math.hypot(before.repetition_stderr, after.repetition_stderr)
    if abs(after.repetition - before.repetition) <= error:
        return "unclear"
    return "more" if after.repetition > before.repetition else "less"


def unmeasured(run: Run) -> list[str]:
    """What a reader may expect to be measured, and was not."""
    scores, missing = run.evaluated.scores.found, []
    if not run.evaluated.perplexities_elsewhere:
        missing.append("other kinds of text")
    if not scores and run.recipe.choices is None:
        missing.append("task accuracy")
    elif all(score.generates for score in scores) and run.recipe.choices is None:
        missing.append("tasks scored by likelihood")
    elif not any(score.generates for score in scores):
        missing.append("tasks with a written answer")
    if not run.evaluated.writings.found:
        missing.append("free text generation")
    return [*missing, "other languages", "safety behaviour", "long contexts"]


def damage_section(run: Run) -> dict[str, Any]:
    """The values of the section on what was lost."""
    variant, scores = run.result.variant, run.evaluated.scores.found
    writings = {writing.variant: writing for writing in run.evaluated.writings.found}
    before, after = writings.get("dense"), writings.get(variant)
    return {
        "text_rises": rises((*run.evaluated.perplexities, *run.evaluated.perplexities_elsewhere), variant),
        "hits": {
            "chosen": hardest_hit(scores, variant, generates=False),
            "written": hardest_hit(scores, variant, generates=True),
        },
        "wrote": {"before": before, "after": after} if before and after else None,
        "repeats": repeats(before, after) if before and after else None,
        "unmeasured": unmeasured(run),
    }
