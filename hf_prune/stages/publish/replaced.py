"""The version on the Hub that a push replaces: its figures, its stale files, its user's own sections."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hf_prune import hub
from hf_prune.errors import UnreadableRecord
from hf_prune.machine.progress import Reporter
from hf_prune.records import Choices, PreviousVersion
from hf_prune.stages.card.metadata import leaderboard_files
from hf_prune.stages.card.pictures import picture_paths
from hf_prune.stages.publish.folder import CARD
from hf_prune.stages.publish.own_sections import OwnSection, merged, overridden, own_sections, with_own
from hf_prune.stages.run import MARKER, SCHEMA_VERSION, Recorded, Run, read_record

WEIGHTS = (  # of a model in any form: those of an earlier version are deleted when new ones come
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
ANY_BYTES = "surrogateescape"  # bytes of an old card that are not UTF-8 are written back as they were
OTHER_DATA = {  # why a measurement is not compared
    "perplexities": "Perplexity was measured on another text",
    "choices": "Accuracy was measured on other items",
    "agreements": "The cosine was measured on other data",
}


def _read_published(snapshot: hub.Snapshot, wait: hub.Wait) -> Recorded | None:
    """The record in a revision; None: there is none that this version can read."""
    if MARKER not in snapshot.files:
        return None
    try:
        return read_record(hub.download_file(snapshot, MARKER, wait))
    except UnreadableRecord:
        return None


def version_in(snapshot: hub.Snapshot, run: Run, wait: hub.Wait) -> PreviousVersion | None:
    """The version that a run replaces in a revision. If it holds the run itself, the one before that."""
    if MARKER not in snapshot.files:
        return None
    recorded = _read_published(snapshot, wait)
    if recorded and is_same_run(recorded.run, run):
        return recorded.run.before
    commit, date = hub.last_change(snapshot, MARKER, wait)
    return previous_version(run, recorded, commit, date)


def open_proposal(run: Run, main: hub.Snapshot, wait: hub.Wait) -> hub.Snapshot | None:
    """The open pull request in which this user proposed this run."""
    for number in hub.open_pull_requests(main.repo_id, wait):
        snapshot = hub.snapshot_of(main.repo_id, f"{hub.PULL_REQUEST}{number}", wait)
        if snapshot is None or snapshot.files.get(MARKER) == main.files.get(MARKER):
            continue
        recorded = _read_published(snapshot, wait)
        if recorded and is_same_run(recorded.run, run):
            return snapshot
    return None


def stale_files(change: hub.Change, wait: hub.Wait) -> tuple[str, ...]:
    """The earlier version's files to delete: weights if new ones come, pictures and scores if unused now."""
    snapshot, stale = change.snapshot, set()
    if any(_is_weights(file.path_in_repo) for file in change.added):
        stale |= set(filter(_is_weights, snapshot.files))
    if recorded := _read_published(snapshot, wait):
        stale |= {path for path in picture_paths(recorded.run).values() if path}
        stale |= leaderboard_files(recorded.run).keys()
    return tuple(sorted(stale & snapshot.files.keys() - change.files.keys()))


def _is_weights(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in WEIGHTS)


def published_sections(snapshot: hub.Snapshot, wait: hub.Wait) -> tuple[OwnSection, ...]:
    """The user's own sections of a published card."""
    if CARD not in snapshot.files:
        return ()
    text = hub.download_file(snapshot, CARD, wait).read_text(encoding="utf-8", errors=ANY_BYTES)
    return own_sections(text, f"the card of {snapshot.repo_id} ({snapshot.revision})")


def card_with_sections(card: str, published: Sequence[OwnSection], local: Path, reporter: Reporter) -> bytes:
    """A new card with the user's own sections of the published card and of a local one, which need not exist.

    Published sections win, and a message names the local ones that lose.
    """
    in_folder = own_sections(local.read_text(encoding="utf-8"), str(local)) if local.is_file() else ()
    for section in overridden(published, in_folder):
        reporter.tell(
            f"the card on the Hub has another text of yours {_position(section)}, which stays; that of "
            f"{local} is not published"
        )
    return with_own(card, merged(published, in_folder)).encode(errors=ANY_BYTES)


def _position(section: OwnSection) -> str:
    if section.name is not None:
        return f"in the section {section.name!r}"
    return "in its last section" if section.is_last else f"after the line {section.after!r}"


def is_same_run(one: Run, other: Run) -> bool:
    """Whether two records are of one run, except for the user's words in its card and what it replaced."""
    return replace(one, before=None, presentation=None) == replace(other, before=None, presentation=None)


def previous_version(run: Run, published: Recorded | None, commit: str, date: str) -> PreviousVersion:
    """What was published, as far as a run can be compared with it; None: its record cannot be read."""
    if published is None:
        reason = "Its record cannot be read by this version of hf-prune, so nothing of it is compared"
        return PreviousVersion(commit=commit, date=date, left_out=(reason,))
    before = published.run
    compared = {name: _comparable(run, before, name) for name in OTHER_DATA}
    left_out = [
        reason
        for name, reason in OTHER_DATA.items()
        if compared[name] is None and getattr(run.evaluated, name) and getattr(before.evaluated, name)
    ]
    schema = published.schema_version
    if schema != SCHEMA_VERSION:
        left_out.append(f"Its record is of an older schema, {schema}: not all of it can be read")
    tasks = {score.asked for score in _of_result(run, run.evaluated.scores.found)}
    return PreviousVersion(
        commit=commit,
        date=date,
        layers=before.result_anatomy.num_layers,
        parameters=before.result_anatomy.parameters,
        source_commit=before.source.commit,
        perplexity=compared["perplexities"],
        choices=compared["choices"],
        agreement=compared["agreements"],
        scores=tuple(s for s in _of_result(before, before.evaluated.scores.found) if s.asked in tasks),
        left_out=tuple(left_out),
    )


def _of_result(run: Run, measured: Sequence[Any]) -> list[Any]:
    return [each for each in measured if each.variant == run.result.variant]


def _comparable(run: Run, before: Run, name: str) -> Any:
    """The measurement of the version before; None unless the new one was measured on the same data."""
    new, old = (_of_result(one, getattr(one.evaluated, name))[:1] for one in (run, before))
    return old[0] if new and old and _data_of(new[0]) == _data_of(old[0]) else None


def _data_of(measured: Any) -> Any:
    return measured.sha256 if isinstance(measured, Choices) else measured.text.sha256
