"""The way to the Hub: the model on main, a branch or a pull request, each depth of a sorted one on its own.

Weights are sent ahead, where nobody sees them; one commit then shows weights, card and record together. What
is there already is neither sent nor committed again: whatever went wrong, the same command ends well.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from hf_prune import hub
from hf_prune.card import render_depth_card
from hf_prune.choose.blocks import ranges
from hf_prune.cut import depth_name
from hf_prune.disk import gigabytes, write_whole
from hf_prune.errors import PublishRefused, RecipeError, RepositoryChanged, UnreadableRecord
from hf_prune.front_matter import leaderboard_files
from hf_prune.pictures import picture_paths
from hf_prune.progress import Reporter
from hf_prune.publish.folder import CARD, card_of, present, with_sections_of
from hf_prune.publish.own_sections import OwnSection, joined, outdone, own_sections, with_own
from hf_prune.publish.version_before import is_same_run, previous_version, unreadable_version
from hf_prune.recipe import Publication
from hf_prune.recorded import Recorded, read_record
from hf_prune.records import PreviousVersion, Published
from hf_prune.report import MARKER, Run
from hf_prune.run_folder import RunFolder

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
HUBS_OWN = ".gitattributes"
PULL_REQUEST = "refs/pr/"
BRANCH = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w][\w.-]*)*")  # of the names that git allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of a branch."""

    commit: str
    pull_request: int | None  # that holds it in place of the branch
    unchanged: bool


def check_publication(publication: Publication | None, name: str, *, depths: bool = False) -> str | None:
    """The name to publish under, once it is sure that this user may.

    Args:
        publication: what the user asked for; None: not to publish.
        name: of the result.
        depths: whether it is a sorted model, whose depths go to branches.

    Raises:
        RecipeError: there is no such branch, or no pull request against it.
        AccessDenied: not logged in, or the token cannot write.
        PublishRefused: a repository of that name exists and hf-prune did not make it.
        CollectionNotFound: there is none to put it into.
        BrokenSection: its card has a section of the user's that could be lost.
    """
    if publication is None:
        return None
    _check_destination(publication, depths=depths)
    repo_id = hub.check_may_publish(publication.repo_id, name)
    if publication.collection is not None:
        hub.check_collection(publication.collection)
    held = hub.look_at(repo_id, publication.branch or hub.MAIN) or hub.look_at(repo_id)
    if held is not None:
        refuse_foreign(held, overwrite=publication.overwrite)
        _sections(held, time.sleep)
    return repo_id


def _check_destination(publication: Publication, *, depths: bool) -> None:
    branch = publication.branch
    if branch is not None and (not BRANCH.fullmatch(branch) or ".." in branch or branch.endswith(".lock")):
        raise RecipeError(
            f"--branch {branch!r} is no name that a branch could have: give one like next or v2"
        )
    if publication.create_pr and branch not in (None, hub.MAIN):
        raise RecipeError(
            f"--create-pr proposes a change of main, and the Hub opens no pull request against {branch}: "
            f"leave --branch or --create-pr out"
        )
    if publication.create_pr and depths:
        raise RecipeError(
            "--create-pr proposes one model, and each depth of a sorted one goes to a branch of its own: "
            "leave it out; a new repository is private unless --public is given"
        )


def refuse_foreign(held: hub.Held, *, overwrite: bool) -> None:
    """Stop before overwriting what lacks the marker file of hf-prune.

    Raises:
        PublishRefused: there are files of others and no marker.
    """
    if not overwrite and MARKER not in held.files and held.files.keys() - {HUBS_OWN}:
        raise PublishRefused(
            f"{held.repo_id} exists and was not made by hf-prune: choose another --repo-id, or overwrite it "
            f"with --yes"
        )


def publish(
    run: Run,
    folder: RunFolder,
    repo_id: str,
    publication: Publication,
    reporter: Reporter,
    sleep: hub.Wait = time.sleep,
) -> tuple[Run, Published]:
    """Put what `assemble` left on the Hub, and each depth of a sorted model on a branch of its own.

    Args:
        run: what its card tells.
        folder: of the run; its card and record are written anew, for they tell of the version before.
        repo_id: where to.
        publication: which branch, who may see it.
        reporter: is told where it goes.
        sleep: for so many seconds, where the Hub asks for time.

    Returns:
        The run with the version that it takes the place of, and where it went.

    Raises:
        PublishRefused: it would overwrite what hf-prune did not make.
        RepositoryChanged: somebody else committed meanwhile.
        UploadDiffers: the Hub does not hold what was sent.
        BrokenSection: a section of the user's could be lost.
        SourceError: the Hub does not answer, or not to this user.
    """
    wait = _telling(reporter, sleep)
    branch = publication.branch or hub.MAIN
    main = hub.look_at(repo_id, wait=wait)
    if main is None:
        hub.make_repository(repo_id, private=publication.private, wait=wait)
    elif main.private != publication.private:
        reporter.tell(f"{repo_id} exists and is {'private' if main.private else 'public'}: it stays so")
    if main is not None and (run.depths or hub.look_at(repo_id, branch, wait) is None):
        refuse_foreign(main, overwrite=publication.overwrite)
    if branch != hub.MAIN:
        hub.make_branch(repo_id, branch, wait)
    of_depths = []
    for depth in run.depths[:-1]:
        place, card = folder.depths / depth_name(depth.layers), render_depth_card(run, depth.layers, repo_id)
        of_depths.append(publish_depth(repo_id, place, depth.layers, card, reporter, sleep))
        write_whole(place / CARD, with_sections_of(place / CARD, card))

    def look() -> hub.Held:
        held = _look_at(repo_id, branch, wait)
        refuse_foreign(held, overwrite=publication.overwrite)
        return (_proposed(run, held, wait) if publication.create_pr else None) or held

    def change(held: hub.Held) -> hub.Change:
        replaced = held if held.revision == branch else _look_at(repo_id, branch, wait)
        told = replace(run, before=_version_in(replaced, run, wait))
        present(told, folder.model, folder, repo_id)
        card = _with_sections(card_of(told, repo_id), _sections(held, wait), folder.model / CARD, reporter)
        made = hub.Change(
            held=held,
            files=hub.outgoing(_files_of(folder.model) | {CARD: card}),
            message=_message(run),
            propose=publication.create_pr and held is replaced,
        )
        return replace(made, deleted=_stale(made, wait))

    delivered = _deliver(look, change, reporter, wait)
    if publication.collection is not None:
        hub.add_to_collection(publication.collection, repo_id, wait)
    number = delivered.pull_request
    published = Published(
        repo_id=repo_id,
        url=hub.address_of(repo_id, branch),
        commit=delivered.commit,
        private=publication.private if main is None else main.private,
        pull_request=None if number is None else hub.address_of(repo_id, pull_request=number),
        unchanged=delivered.unchanged and all(depth.unchanged for depth in of_depths),
    )
    return read_record(folder.model / MARKER).run, published


def publish_depth(
    repo_id: str,
    folder: Path,
    depth: int,
    card: str | None,
    reporter: Reporter,
    sleep: hub.Wait = time.sleep,
) -> Delivered:
    """Put a depth on its own branch of a repository that is there: all that the branch held goes.

    Args:
        repo_id: where to.
        folder: that holds the depth.
        depth: how many layers.
        card: as it is made now; None: it has none.
        reporter: is told where it goes.
        sleep: for so many seconds, where the Hub asks for time.

    Raises:
        RepositoryChanged, UploadDiffers, BrokenSection, SourceError: as `publish`.
    """
    wait, branch = _telling(reporter, sleep), depth_name(depth)
    hub.make_branch(repo_id, branch, wait)

    def look() -> hub.Held:
        return _look_at(repo_id, branch, wait)

    def change(held: hub.Held) -> hub.Change:
        files = _files_of(folder)
        if card is not None:
            # A new branch begins as main, and what the user says there is not about a depth.
            published = () if MARKER in held.files else _sections(held, wait)
            files[CARD] = _with_sections(card, published, folder / CARD, reporter)
        return hub.Change(
            held=held,
            files=hub.outgoing(files),
            message=f"The first {depth} layers",
            deleted=tuple(sorted(held.files.keys() - files.keys() - {HUBS_OWN})),
        )

    return _deliver(look, change, reporter, wait)


def _telling(reporter: Reporter, sleep: hub.Wait) -> hub.Wait:
    """Waiting that the user is told of."""

    def wait(seconds: float) -> None:
        reporter.tell(f"the Hub does not answer as it should: trying again in {seconds:.0f} s")
        sleep(seconds)

    return wait


def _look_at(repo_id: str, branch: str, wait: hub.Wait) -> hub.Held:
    held = hub.look_at(repo_id, branch, wait)
    if held is None:
        raise RepositoryChanged(
            f"{repo_id} or its branch {branch} was there a moment ago and is gone: give the same command "
            f"again"
        )
    return held


def _deliver(
    look: Callable[[], hub.Held],
    change: Callable[[hub.Held], hub.Change],
    reporter: Reporter,
    wait: hub.Wait,
) -> Delivered:
    """Make a revision hold what it should: first the weights, unseen, then one commit with everything.

    Args:
        look: at what the revision holds now; stops where that may not be overwritten.
        change: that has to be made to it.
        reporter: is told where it goes.
        wait: sleeps for so many seconds.
    """
    held = look()
    while True:
        made = change(held)
        number = int(held.revision.removeprefix(PULL_REQUEST)) if PULL_REQUEST in held.revision else None
        if not made.added and not made.deleted:
            where = hub.address_of(held.repo_id, held.revision, number)
            reporter.tell(f"{where} holds all of this already: nothing is published")
            return Delivered(commit=held.commit, pull_request=number, unchanged=True)
        size = sum(file.upload_info.size for file in made.added)
        reporter.tell(f"publishing {gigabytes(size)} to {held.repo_id}")
        hub.send_large_files(made, (CARD, MARKER))
        now = look()  # sending may have taken hours
        if now.commit == held.commit:
            committed = hub.commit(made, wait)
            number = committed.pull_request or number
            return Delivered(commit=committed.commit, pull_request=number, unchanged=False)
        held = now


def _message(run: Run) -> str:
    origin = run.source.repo_id or run.source.folder
    done = f"layers {ranges(run.plan.removed)} of {origin} removed" if run.plan.removed else f"from {origin}"
    return f"{run.name}: {done}"


def _files_of(folder: Path) -> dict[str, Path | bytes]:
    """Everything below a folder, by its path there; no write that was cut short."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".partial")
    }


def _recorded(held: hub.Held, wait: hub.Wait) -> Recorded | None:
    """The record of what was published; None where there is none that can be read."""
    if MARKER not in held.files:
        return None
    try:
        return read_record(hub.read_held(held, MARKER, wait))
    except UnreadableRecord:
        return None


def _version_in(held: hub.Held, run: Run, wait: hub.Wait) -> PreviousVersion | None:
    """The version that a run takes the place of; of a run that is there itself, the one before that."""
    if MARKER not in held.files:
        return None
    recorded = _recorded(held, wait)
    if recorded is not None and is_same_run(recorded.run, run):
        return recorded.run.before
    commit, date = hub.last_change(held, MARKER, wait)
    return previous_version(run, recorded, commit, date) if recorded else unreadable_version(commit, date)


def _proposed(run: Run, main: hub.Held, wait: hub.Wait) -> hub.Held | None:
    """The open pull request in which this user has proposed this very run."""
    for number in hub.open_pull_requests(main.repo_id, wait):
        held = hub.look_at(main.repo_id, f"{PULL_REQUEST}{number}", wait)
        if held is None or held.files.get(MARKER) == main.files.get(MARKER):
            continue
        recorded = _recorded(held, wait)
        if recorded is not None and is_same_run(recorded.run, run):
            return held
    return None


def _stale(change: hub.Change, wait: hub.Wait) -> tuple[str, ...]:
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


def _sections(held: hub.Held, wait: hub.Wait) -> tuple[OwnSection, ...]:
    """What the user has written into marked sections of a published card."""
    if CARD not in held.files:
        return ()
    text = hub.read_held(held, CARD, wait).read_text(encoding="utf-8")
    return own_sections(text, f"the card of {held.repo_id} ({held.revision})")


def _with_sections(card: str, published: Sequence[OwnSection], local: Path, reporter: Reporter) -> bytes:
    """A card with its user's own sections: those that are published, and those of the run folder too."""
    here = own_sections(local.read_text(encoding="utf-8"), str(local)) if local.is_file() else ()
    for section in outdone(published, here):
        reporter.tell(
            f"the card on the Hub has another text of yours {_where(section)}, which stays; that of "
            f"{local} is not published"
        )
    return with_own(card, joined(published, here)).encode()


def _where(section: OwnSection) -> str:
    if section.name is not None:
        return f"in the section {section.name!r}"
    return "in its last section" if section.is_last else f"after the line {section.after!r}"
