"""The way up to the Hub: what a revision holds, and one commit that makes it hold something else.

Everything is compared by hash: what is there already is not sent, and what a commit should have left is
looked up after it. A commit names the one that it follows, so that nothing another wrote meanwhile is lost.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_prune.errors import PublishRefused, RepositoryChanged, UploadDiffers
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.retrying import Wait, is_transient, pause_after, retried

MAIN = "main"
PRECONDITION_FAILED = 412  # another commit came first
TOO_MANY = 429
NOBODY = (401, 403)  # to who asks who they are


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file as the Hub has it."""

    size: int
    blob_id: str  # git's
    sha256: str | None  # of one in large-file storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a revision of a repository holds, as of one commit."""

    repo_id: str
    revision: str  # a branch, or "refs/pr/3"
    commit: str
    private: bool
    files: Mapping[str, HeldFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of a revision, in one commit."""

    held: Held
    files: Mapping[str, CommitOperationAdd]  # everything that is to be there, by its path
    message: str
    deleted: tuple[str, ...] = ()  # paths that are to go
    propose: bool = False  # as a new pull request

    @property
    def added(self) -> list[CommitOperationAdd]:
        """Those files that the revision does not hold as they are."""
        return [file for name, file in self.files.items() if not is_held(file, self.held.files.get(name))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a change came to."""

    commit: str
    pull_request: int | None = None  # that was opened for it


def outgoing(files: Mapping[str, Path | bytes]) -> dict[str, CommitOperationAdd]:
    """Files on their way, by their path in the repository; each is hashed once, when first compared."""
    return {
        name: CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in files.items()
    }


def is_held(file: CommitOperationAdd, held: HeldFile | None) -> bool:
    """Whether the Hub has a file to the byte."""
    if held is None or held.size != file.upload_info.size:
        return False
    if held.sha256 is not None:
        return file.upload_info.sha256.hex() == held.sha256
    with file.as_file() as content:
        data = content.read()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == held.blob_id


def look_at(repo_id: str, revision: str = MAIN, wait: Wait = time.sleep) -> Held | None:
    """What a revision holds now; None where there is no such repository, or no such revision."""
    api = HfApi()
    with plain_hub_errors(repo_id):
        try:
            info = retried(lambda: api.model_info(repo_id, revision=revision, files_metadata=True), wait)
        except GatedRepoError:  # a kind of RepositoryNotFoundError
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
    return Held(
        repo_id=info.id,
        revision=revision,
        commit=info.sha or "",
        private=bool(info.private),
        files={
            sibling.rfilename: HeldFile(
                size=sibling.size or 0,
                blob_id=sibling.blob_id or "",
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
            )
            for sibling in info.siblings or ()
        },
    )


def read_held(held: Held, name: str, wait: Wait = time.sleep) -> Path:
    """A file of a revision, brought into the Hub's cache."""
    with plain_hub_errors(held.repo_id, held.revision):
        # The commit and not the branch, so that it is the one that was looked at.
        return Path(retried(lambda: hf_hub_download(held.repo_id, name, revision=held.commit), wait))


def last_change(held: Held, name: str, wait: Wait = time.sleep) -> tuple[str, str]:
    """The commit in which a file became what it is, and its time in ISO 8601, UTC."""
    api = HfApi()
    with plain_hub_errors(held.repo_id, held.revision):
        (entry,) = retried(
            lambda: api.get_paths_info(held.repo_id, [name], revision=held.commit, expand=True), wait
        )
    last = getattr(entry, "last_commit", None)
    assert last is not None  # expand=True asks for it
    return last.oid, last.date.isoformat(timespec="seconds").replace("+00:00", "Z")


def make_repository(repo_id: str, *, private: bool, wait: Wait = time.sleep) -> None:
    """Make a repository; one that is there is left as it is."""
    api = HfApi()
    with plain_hub_errors(repo_id):
        retried(lambda: api.create_repo(repo_id, private=private, exist_ok=True), wait)


def make_branch(repo_id: str, branch: str, wait: Wait = time.sleep) -> None:
    """Make a branch that begins with what main holds; one that is there is left as it is."""
    api = HfApi()
    with plain_hub_errors(repo_id):
        retried(lambda: api.create_branch(repo_id, branch=branch, exist_ok=True), wait)


def address_of(repo_id: str, revision: str = MAIN, pull_request: int | None = None) -> str:
    """Where people look at a repository, one of its branches, or a pull request."""
    whole = f"{HfApi().endpoint}/{repo_id}"
    if pull_request is not None:
        return f"{whole}/discussions/{pull_request}"
    return whole if revision == MAIN else f"{whole}/tree/{quote(revision, safe='')}"


def open_pull_requests(repo_id: str, wait: Wait = time.sleep) -> list[int]:
    """The open pull requests that this user made, the newest first; none of a token that is nobody's.

    Others' are left out: who copies a record into a pull request of their own must not get the weights there.
    """
    api = HfApi()

    def find(author: str) -> list[int]:
        mine = api.get_repo_discussions(
            repo_id, author=author, discussion_type="pull_request", discussion_status="open"
        )
        return sorted((each.num for each in mine), reverse=True)

    with plain_hub_errors(repo_id):
        try:
            user = retried(api.whoami, wait)
        except HfHubHTTPError as error:
            if error.response.status_code not in NOBODY:
                raise
            return []  # the token of a CI job may write to one repository, and has no name
        return retried(lambda: find(user["name"]), wait)


def send_large_files(change: Change, leave_out: tuple[str, ...]) -> None:
    """Bring what is large into the Hub's storage, where nobody sees it before a commit names it.

    Args:
        change: to come.
        leave_out: paths whose content is not final yet.
    """
    files = [file for file in change.added if file.path_in_repo not in leave_out]
    if not files:
        return
    with plain_hub_errors(change.held.repo_id):
        HfApi().preupload_lfs_files(
            change.held.repo_id,
            files,
            revision=change.held.revision,
            create_pr=change.propose,
            free_memory=False,
        )


def commit(change: Change, wait: Wait = time.sleep) -> Committed:
    """Make a change in one commit, and make sure that the Hub holds what it should after it.

    A commit whose answer is lost is looked for before it is made again.

    Raises:
        RepositoryChanged: another commit came first; nothing was written.
        UploadDiffers: the Hub holds something else than what was sent.
        PublishRefused: it takes no card with such metadata.
        SourceError: it does not answer, or not now, or not to this user.
    """
    with plain_hub_errors(change.held.repo_id):
        committed = _commit(change, wait)
    now = look_at(change.held.repo_id, committed.commit, wait)
    wrong = _unlike(change, now.files if now else {})
    if wrong:
        raise UploadDiffers(
            f"{change.held.repo_id} at commit {committed.commit[:12]} does not hold what was sent: "
            f"{'; '.join(wrong)}; give the same command again, which sends what differs"
        )
    return committed


def _commit(change: Change, wait: Wait) -> Committed:
    for attempt in count():
        try:
            return _commit_once(change)
        except Exception as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            if not is_transient(error) and status != PRECONDITION_FAILED:
                raise
            if status != TOO_MANY and (landed := _landed(change, wait)) is not None:
                return landed
            seconds = pause_after(error, attempt)
            if seconds is None:
                raise
            wait(seconds)
    raise AssertionError  # count() has no end


def _commit_once(change: Change) -> Committed:
    deleted = [CommitOperationDelete(path_in_repo=name) for name in change.deleted]
    try:
        info = HfApi().create_commit(
            change.held.repo_id,
            [*deleted, *change.added],
            commit_message=change.message,
            revision=None if change.propose else change.held.revision,
            create_pr=change.propose,
            parent_commit=change.held.commit,
        )
    except ValueError as error:
        if "Invalid metadata in README.md" not in str(error):
            raise
        raise PublishRefused(
            f"the Hub does not take this card for {change.held.repo_id}: {' '.join(str(error).split())}"
        ) from error
    return Committed(commit=info.oid, pull_request=info.pr_num)


def _landed(change: Change, wait: Wait) -> Committed | None:
    """The commit that was made although no answer said so; None: it was not.

    Raises:
        RepositoryChanged: there is another commit in its place.
    """
    repo_id = change.held.repo_id
    if change.propose:
        for number in open_pull_requests(repo_id, wait):
            proposed = look_at(repo_id, f"refs/pr/{number}", wait)
            if proposed is not None and not _unlike(change, proposed.files):
                return Committed(commit=proposed.commit, pull_request=number)
        return None
    now = look_at(repo_id, change.held.revision, wait)
    if now is None or now.commit == change.held.commit:
        return None
    if _unlike(change, now.files):
        raise RepositoryChanged(
            f"{repo_id} was changed by somebody else (commit {now.commit[:12]}) while this was on its way, "
            f"and nothing was overwritten: look at it, and give the same command again; what is sent is not "
            f"sent again"
        )
    return Committed(commit=now.commit)


def _unlike(change: Change, found: Mapping[str, HeldFile]) -> list[str]:
    """What is not as it should be after a change, a few words each."""
    missing = [f"{name} is missing" for name in change.files if name not in found]
    other = [
        f"{name} is another"
        for name, file in change.files.items()
        if name in found and not is_held(file, found[name])
    ]
    left = [f"{name} is still there" for name in change.deleted if name in found]
    return [*missing, *other, *left]
