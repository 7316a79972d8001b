"""What is on its way to a branch: the weights ahead, where nobody sees them, then one commit with all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_prune import hub
from hf_prune.errors import RepositoryChanged
from hf_prune.machine.disk import gigabytes
from hf_prune.machine.progress import Reporter
from hf_prune.stages.publish.folder import CARD
from hf_prune.stages.run import MARKER

PULL_REQUEST = "refs/pr/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of a branch."""

    commit: str
    pull_request: int | None  # that holds it in place of the branch
    unchanged: bool


def deliver(
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
        proposed = held.revision.startswith(PULL_REQUEST)
        number = int(held.revision.removeprefix(PULL_REQUEST)) if proposed else None
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


def look_at_branch(repo_id: str, branch: str, wait: hub.Wait) -> hub.Held:
    """What a branch holds that is there.

    Raises:
        RepositoryChanged: it is there no more.
    """
    held = hub.look_at(repo_id, branch, wait)
    if held is None:
        raise RepositoryChanged(
            f"{repo_id} or its branch {branch} was there a moment ago and is gone: give the same command "
            f"again"
        )
    return held


def telling(reporter: Reporter, sleep: hub.Wait) -> hub.Wait:
    """Waiting that the user is told of."""

    def wait(seconds: float) -> None:
        reporter.tell(f"the Hub does not answer as it should: trying again in {seconds:.0f} s")
        sleep(seconds)

    return wait


def files_of(folder: Path) -> dict[str, Path | bytes]:
    """Everything below a folder, by its path there; no write that was cut short."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".partial")
    }
