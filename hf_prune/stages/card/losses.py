"""What the published model does worse than its original, and by how much: judged from the figures of a run.

A difference within its standard errors is never called one. Errors of two variants are taken as independent,
which they are not where both answered the same items: what is called unclear may be a small true difference.
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
        """How many times the original's it is."""
        return self.after.perplexity / self.before.perplexity


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """One figure of a task, before and after."""

    before: TaskScore
    after: TaskScore

    @property
    def left(self) -> float:
        """The share of the original's figure that is left; of one that is better low, the inverse."""
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
    """The task that was hit hardest, of several of a kind."""

    worst: Fall
    num_figures: int
    num_clear: int  # that fell by more than their standard errors


def verdict(before: Perplexity, after: Perplexity) -> str:
    """Whether a perplexity is "higher", "lower", or "unclear" within a standard error of the loss."""
    if abs(before.loss - after.loss) <= max(before.loss_stderr, after.loss_stderr):
        return "unclear"
    return "lower" if after.loss < before.loss else "higher"


def effect(before: Perplexity | None, after: Perplexity | None) -> str | None:
    """Whether a repair helped: "better", "worse", or "unclear" within a standard error."""
    if before is None or after is None:
        return None
    return {"lower": "better", "higher": "worse", "unclear": "unclear"}[verdict(before, after)]


def rises(perplexities: Sequence[Perplexity], variant: str) -> list[Rise]:
    """How perplexity rose on each text that both the original and a variant read, in their order."""
    after = {each.text.name: each for each in perplexities if each.variant == variant}
    return [
        Rise(before=each, after=after[each.text.name], verdict=verdict(each, after[each.text.name]))
        for each in perplexities
        if each.variant == "dense" and each.text.name in after
    ]


def hardest_hit(scores: Iterable[TaskScore], variant: str, *, generates: bool) -> Hit | None:
    """The figure of a task of which least is left; None where no task of the kind was measured of both.

    Args:
        scores: of all variants.
        variant: that is compared with the original.
        generates: of tasks whose answer the model writes; else of those where it chooses among given ones.
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
    """Whether a variant repeats itself "more" or "less" than the original, or it is "unclear"."""
    error = math.hypot(before.repetition_stderr, after.repetition_stderr)
    if abs(after.repetition - before.repetition) <= error:
        return "unclear"
    return "more" if after.repetition > before.repetition else "less"


def unmeasured(run: Run) -> list[str]:
    """What a reader may think was measured, and was not."""
    chosen, written = (
        any(score.generates is kind for score in run.evaluated.scores.found) for kind in (False, True)
    )
    missing = []
    if not run.evaluated.perplexities_elsewhere:
        missing.append("other kinds of text")
    if not run.evaluated.scores.found and run.recipe.choices is None:
        missing.append("task accuracy")
    elif not chosen and run.recipe.choices is None:
        missing.append("tasks with answers to choose from")
    elif not written:
        missing.append("tasks whose answer is written")
    if not run.evaluated.writings.found:
        missing.append("free writing")
    return [*missing, "other languages", "safety behaviour", "long contexts"]


def damage_section(run: Run) -> dict[str, Any]:
    """What the section on what was lost tells."""
    variant = run.result.variant
    writings = {writing.variant: writing for writing in run.evaluated.writings.found}
    before, after = writings.get("dense"), writings.get(variant)
    return {
        "text_rises": rises((*run.evaluated.perplexities, *run.evaluated.perplexities_elsewhere), variant),
        "hits": {
            "chosen": hardest_hit(run.evaluated.scores.found, variant, generates=False),
            "written": hardest_hit(run.evaluated.scores.found, variant, generates=True),
        },
        "wrote": {"before": before, "after": after} if before and after else None,
        "repeats": repeats(before, after) if before and after else None,
        "unmeasured": unmeasured(run),
    }
