"""How files reach a branch: first the weights, where nobody sees them, then one commit with everything."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_prune import hub
from hf_prune.errors import RepositoryChanged
from hf_prune.machine.progress import Reporter
from hf_prune.records.numbers import byte_size
from hf_prune.stages.publish.folder import CARD
from hf_prune.stages.run import MARKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The state of a branch or pull request after a push."""

    commit: str
    pull_request: int | None  # its number; None: the branch itself holds the files
    unchanged: bool = False


def deliver(
    look: Callable[[], hub.Snapshot],
    plan: Callable[[hub.Snapshot], hub.Change],
    reporter: Reporter,
    wait: hub.Wait,
) -> Delivered:
    """Upload the weights unseen, then commit everything at once.

    `look` raises if the revision may not be overwritten. If somebody commits during the upload, `plan` is
    called again.
    """
    snapshot = look()
    while True:
        change = plan(snapshot)
        proposed = snapshot.revision.startswith(hub.PULL_REQUEST)
        number = int(snapshot.revision.removeprefix(hub.PULL_REQUEST)) if proposed else None
        if not change.added and not change.deleted:
            address = hub.address_of(snapshot.repo_id, snapshot.revision, number)
            reporter.tell(f"{address} holds all of this already: nothing is published")
            return Delivered(commit=snapshot.commit, pull_request=number, unchanged=True)
        size = sum(file.upload_info.size for file in change.added)
        reporter.tell(f"publishing {byte_size(size)} to {snapshot.repo_id}")
        hub.send_large_files(change, (CARD, MARKER))
        latest = look()  # the upload may have taken hours
        if latest.commit == snapshot.commit:
            committed = hub.commit(change, wait)
            return Delivered(commit=committed.commit, pull_request=committed.pull_request or number)
        snapshot = latest


def look_at_branch(repo_id: str, branch: str, wait: hub.Wait) -> hub.Snapshot:
    """What a branch holds that was there a moment ago.

    Raises:
        RepositoryChanged: it is there no more.
    """
    if snapshot := hub.snapshot_of(repo_id, branch, wait):
        return snapshot
    raise RepositoryChanged(
        f"{repo_id} or its branch {branch} was there a moment ago and is gone: give the same command again"
    )


def announced(sleep: hub.Wait, reporter: Reporter) -> hub.Wait:
    """A sleep that says first why it waits."""

    def wait(seconds: float) -> None:
        reporter.tell(f"the Hub does not answer as it should: trying again in {seconds:.0f} s")
        sleep(seconds)

    return wait


def files_in(folder: Path) -> dict[str, Path | bytes]:
    """The files below a folder by their relative paths, without those that were not written to the end."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".partial")
    }
