"""What is published already, and what becomes of it: its record, its weights, its user's own sections."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from hf_prune import hub
from hf_prune.errors import UnreadableRecord
from hf_prune.machine.progress import Reporter
from hf_prune.records import Agreement, Choices, Perplexity, PreviousVersion
from hf_prune.stages.card.metadata import leaderboard_files
from hf_prune.stages.card.pictures import picture_paths
from hf_prune.stages.publish.delivery import PULL_REQUEST
from hf_prune.stages.publish.folder import CARD
from hf_prune.stages.publish.own_sections import OwnSection, joined, outdone, own_sections, with_own
from hf_prune.stages.run import MARKER, SCHEMA_VERSION, Recorded, Run, read_record

Measured = TypeVar("Measured", Perplexity, Choices, Agreement)

# Of a model in whatever form: an earlier version's go where new weights come.
WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.gguf",
    "onnx/*",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "consolidated.*",
    "tf_model*.h5",
    "flax_model*.msgpack",
)
# An old card may be in any encoding: what cannot be read as UTF-8 goes through as the bytes it is.
AS_IT_IS = "surrogateescape"


def _recorded(held: hub.Held, wait: hub.Wait) -> Recorded | None:
    """The record of what was published; None where there is none that can be read."""
    if MARKER not in held.files:
        return None
    try:
        return read_record(hub.read_held(held, MARKER, wait))
    except UnreadableRecord:
        return None


def version_in(held: hub.Held, run: Run, wait: hub.Wait) -> PreviousVersion | None:
    """The version that a run takes the place of; of a run that is there itself, the one before that."""
    if MARKER not in held.files:
        return None
    recorded = _recorded(held, wait)
    if recorded is not None and is_same_run(recorded.run, run):
        return recorded.run.before
    commit, date = hub.last_change(held, MARKER, wait)
    return previous_version(run, recorded, commit, date) if recorded else unreadable_version(commit, date)


def proposed_before(run: Run, main: hub.Held, wait: hub.Wait) -> hub.Held | None:
    """The open pull request in which this user has proposed this very run."""
    for number in hub.open_pull_requests(main.repo_id, wait):
        held = hub.look_at(main.repo_id, f"{PULL_REQUEST}{number}", wait)
        if held is None or held.files.get(MARKER) == main.files.get(MARKER):
            continue
        recorded = _recorded(held, wait)
        if recorded is not None and is_same_run(recorded.run, run):
            return held
    return None


def stale_files(change: hub.Change, wait: hub.Wait) -> tuple[str, ...]:
    """What an earlier version had and this one lacks: its weights where others come, its pictures, scores."""
    held, names = change.held, change.files.keys()
    gone = set()
    if any(_is_weights(file.path_in_repo) for file in change.added):
        gone |= {name for name in held.files if _is_weights(name)}
    before = _recorded(held, wait)
    if before is not None:
        gone |= set(filter(None, picture_paths(before.run).values())) | set(leaderboard_files(before.run))
    return tuple(sorted(gone & held.files.keys() - names))


def _is_weights(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in WEIGHTS)


def published_sections(held: hub.Held, wait: hub.Wait) -> tuple[OwnSection, ...]:
    """What the user has written into marked sections of a published card."""
    if CARD not in held.files:
        return ()
    text = hub.read_held(held, CARD, wait).read_text(encoding="utf-8", errors=AS_IT_IS)
    return own_sections(text, f"the card of {held.repo_id} ({held.revision})")


def card_with_sections(card: str, published: Sequence[OwnSection], local: Path, reporter: Reporter) -> bytes:
    """A card with its user's own sections: those that are published, and those of the run folder too."""
    here = own_sections(local.read_text(encoding="utf-8"), str(local)) if local.is_file() else ()
    for section in outdone(published, here):
        reporter.tell(
            f"the card on the Hub has another text of yours {_where(section)}, which stays; that of "
            f"{local} is not published"
        )
    return with_own(card, joined(published, here)).encode(errors=AS_IT_IS)


def _where(section: OwnSection) -> str:
    if section.name is not None:
        return f"in the section {section.name!r}"
    return "in its last section" if section.is_last else f"after the line {section.after!r}"


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
    perplexity = _comparable(
        run, before, lambda one: one.evaluated.perplexities, lambda each: each.text.sha256
    )
    choices = _comparable(run, before, lambda one: one.evaluated.choices, lambda each: each.sha256)
    agreement = _comparable(run, before, lambda one: one.evaluated.agreements, lambda each: each.text.sha256)
    ours = {score.asked for score in run.evaluated.scores.found if score.variant == run.result.variant}
    left_out = [
        reason
        for reason, here, there, compared in (
            (
                "Perplexity was measured on another text",
                run.evaluated.perplexities,
                before.evaluated.perplexities,
                perplexity,
            ),
            (
                "Accuracy was measured on other items",
                run.evaluated.choices,
                before.evaluated.choices,
                choices,
            ),
            (
                "The cosine was measured on other data",
                run.evaluated.agreements,
                before.evaluated.agreements,
                agreement,
            ),
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
        scores=tuple(
            s for s in before.evaluated.scores.found if s.variant == before.result.variant and s.asked in ours
        ),
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
