"""What a new version is compared with: the record of the one that was published before it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from hf_prune.records import Agreement, Choices, Perplexity, PreviousVersion
from hf_prune.stages.recorded import Recorded
from hf_prune.stages.run import SCHEMA_VERSION, Run

Measured = TypeVar("Measured", Perplexity, Choices, Agreement)


def is_same_run(one: Run, other: Run) -> bool:
    """Whether two records are of one run, whatever the user put into its card and what it replaced."""
    return replace(one, before=None, presentation=None) == replace(other, before=None, presentation=None)


def unreadable_version(commit: str, date: str) -> PreviousVersion:
    """A version whose record this hf-prune cannot read."""
    return PreviousVersion(
        commit=commit,
        date=date,
        layers=None,
        parameters=None,
        source_commit=None,
        perplexity=None,
        choices=None,
        agreement=None,
        scores=(),
        left_out=("Its record cannot be read by this version of hf-prune, so nothing of it is compared",),
    )


def previous_version(run: Run, published: Recorded, commit: str, date: str) -> PreviousVersion:
    """What was published, as far as a run can be compared with it.

    Args:
        run: the new version.
        published: the record of the one before.
        commit: in which it was published.
        date: of that commit.
    """
    before = published.run
    perplexity = _comparable(run, before, lambda one: one.perplexities, lambda each: each.text.sha256)
    choices = _comparable(run, before, lambda one: one.choices, lambda each: each.sha256)
    agreement = _comparable(run, before, lambda one: one.agreements, lambda each: each.text.sha256)
    ours = {score.asked for score in run.scores if score.variant == run.result.variant}
    left_out = [
        reason
        for reason, here, there, compared in (
            ("Perplexity was measured on another text", run.perplexities, before.perplexities, perplexity),
            ("Accuracy was measured on other items", run.choices, before.choices, choices),
            ("The cosine was measured on other data", run.agreements, before.agreements, agreement),
        )
        if here and there and compared is None
    ]
    if published.schema_version != SCHEMA_VERSION:
        left_out.append(
            f"Its record is of an older schema, {published.schema_version}: not all of it can be read"
        )
    return PreviousVersion(
        commit=commit,
        date=date,
        layers=before.result_anatomy.num_layers,
        parameters=before.result_anatomy.parameters,
        source_commit=before.source.commit,
        perplexity=perplexity,
        choices=choices,
        agreement=agreement,
        scores=tuple(s for s in before.scores if s.variant == before.result.variant and s.asked in ours),
        left_out=tuple(left_out),
    )


def _comparable(
    run: Run, before: Run, measured: Callable[[Run], Sequence[Measured]], data: Callable[[Measured], str]
) -> Measured | None:
    """What was measured of the version before, if the new one was measured on the same data."""
    ours, theirs = (
        next((each for each in measured(one) if each.variant == one.result.variant), None)
        for one in (run, before)
    )
    return theirs if ours and theirs and data(ours) == data(theirs) else None
