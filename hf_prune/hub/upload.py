"""Uploads: the files of a revision on the Hub, and one commit that changes them.

Files are compared by hash: a file that the Hub has is not sent, and after a commit the Hub has to have all of
them. A commit names the one that it follows, so it overwrites nothing that somebody else wrote meanwhile.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from hf_prune.errors import PublishRefused, RepositoryChanged, UploadDiffers
from hf_prune.hub.plain_errors import plain_hub_errors
from hf_prune.hub.retrying import Wait, is_transient, retry

MAIN = "main"
PULL_REQUEST = "refs/pr/"  # with its number: the revision of a pull request
CAME_SECOND = 412  # after another commit
NOBODY = (401, 403)  # the Hub's answer to a token without a user that asks for its user


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The files of a revision, as of one commit."""

    repo_id: str
    revision: str  # a branch, or "refs/pr/3"
    commit: str
    private: bool
    files: Mapping[str, RepoSibling]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one commit is to change in a snapshot."""

    snapshot: Snapshot
    files: Mapping[str, CommitOperationAdd]  # by path: every file that there should be, changed or not
    message: str
    deleted: tuple[str, ...] = ()
    propose: bool = False  # as a new pull request

    @property
    def added(self) -> list[CommitOperationAdd]:
        """The files that the Hub does not have in this form."""
        there = self.snapshot.files
        return [file for name, file in self.files.items() if not is_same(file, there.get(name))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The commit of a change."""

    commit: str
    pull_request: int | None = None  # that was opened for it


def outgoing(files: Mapping[str, Path | bytes]) -> dict[str, CommitOperationAdd]:
    """Files to upload, by their path in the repository; each is hashed once, when first compared."""
    return {
        name: CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in files.items()
    }


def is_same(file: CommitOperationAdd, there: RepoSibling | None) -> bool:
    """Whether the Hub has the same bytes."""
    if there is None or there.size != file.upload_info.size:
        return False
    if there.lfs is not None:  # in large-file storage
        return file.upload_info.sha256.hex() == there.lfs.sha256
    with file.as_file() as content:
        data = content.read()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == there.blob_id  # git's


def snapshot_of(repo_id: str, revision: str = MAIN, wait: Wait = time.sleep) -> Snapshot | None:
    """The files of a revision now; None if there is no such repository or revision."""
    with plain_hub_errors(repo_id):
        try:
            info = retry(lambda: HfApi().model_info(repo_id, revision=revision, files_metadata=True), wait)
        except GatedRepoError:  # a kind of RepositoryNotFoundError
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
    return Snapshot(
        repo_id=info.id,
        revision=revision,
        commit=info.sha or "",
        private=bool(info.private),
        files={sibling.rfilename: sibling for sibling in info.siblings or ()},
    )


def download_file(snapshot: Snapshot, name: str, wait: Wait = time.sleep) -> Path:
    """A file of a snapshot, downloaded into the Hub's cache."""
    repo_id, commit = snapshot.repo_id, snapshot.commit  # the branch may have moved on
    with plain_hub_errors(repo_id, snapshot.revision):
        return Path(retry(lambda: hf_hub_download(repo_id, name, revision=commit), wait))


def last_change(snapshot: Snapshot, name: str, wait: Wait = time.sleep) -> tuple[str, str]:
    """The commit that last changed a file, and its time in ISO 8601, UTC."""
    api, repo_id, commit = HfApi(), snapshot.repo_id, snapshot.commit
    with plain_hub_errors(repo_id, snapshot.revision):
        (entry,) = retry(lambda: api.get_paths_info(repo_id, [name], revision=commit, expand=True), wait)
    last = getattr(entry, "last_commit", None)
    assert last is not None  # expand=True asks for it
    return last.oid, last.date.isoformat(timespec="seconds").replace("+00:00", "Z")


def make_repository(repo_id: str, *, private: bool, wait: Wait = time.sleep) -> None:
    """Make a repository; one that exists is left unchanged."""
    with plain_hub_errors(repo_id):
        retry(lambda: HfApi().create_repo(repo_id, private=private, exist_ok=True), wait)


def make_branch(repo_id: str, branch: str, wait: Wait = time.sleep) -> None:
    """Make a branch that starts at main; one that exists is left unchanged."""
    with plain_hub_errors(repo_id):
        retry(lambda: HfApi().create_branch(repo_id, branch=branch, exist_ok=True), wait)


def address_of(repo_id: str, revision: str = MAIN, pull_request: int | None = None) -> str:
    """The web page of a repository, one of its branches, or a pull request."""
    page = f"{constants.ENDPOINT}/{repo_id}"
    if pull_request is not None:
        return f"{page}/discussions/{pull_request}"
    return page if revision == MAIN else f"{page}/tree/{quote(revision, safe='')}"


def open_pull_requests(repo_id: str, wait: Wait = time.sleep) -> list[int]:
    """The open pull requests of this user, the newest first; none for a token without a user.

    Those of others are left out: somebody who copies a record into a pull request must not get the weights.
    """
    api = HfApi()

    def find(author: str) -> list[int]:
        own = api.get_repo_discussions(
            repo_id, author=author, discussion_type="pull_request", discussion_status="open"
        )
        return sorted((each.num for each in own), reverse=True)

    with plain_hub_errors(repo_id):
        try:
            user = retry(api.whoami, wait)
        except HfHubHTTPError as error:
            if error.response.status_code not in NOBODY:
                raise
            return []  # the token of a CI job may write to one repository, and has no user
        return retry(lambda: find(user["name"]), wait)


def send_large_files(change: Change, unfinished: tuple[str, ...]) -> None:
    """Send large files to the Hub's storage, where nobody sees them before the commit."""
    files = [file for file in change.added if file.path_in_repo not in unfinished]
    repo_id, revision, propose = change.snapshot.repo_id, change.snapshot.revision, change.propose
    with plain_hub_errors(repo_id):
        HfApi().preupload_lfs_files(repo_id, files, revision=revision, create_pr=propose, free_memory=False)


def commit(change: Change, wait: Wait = time.sleep) -> Committed:
    """Make a change in one commit, and make sure that the Hub has the right files after it.

    If the answer to a commit is lost, the commit is looked for before it is made again.

    Raises:
        RepositoryChanged: another commit came first; nothing was written.
        UploadDiffers: the Hub has other files than were sent.
        PublishRefused: the Hub refuses the metadata of the card.
        SourceError: the Hub does not answer, or not now, or not to this user.
    """
    repo_id = change.snapshot.repo_id
    with plain_hub_errors(repo_id):
        committed = retry(lambda: _commit_or_find(change, wait), wait)
    now = snapshot_of(repo_id, committed.commit, wait)
    differences = _differences(change, now.files if now else {})
    if differences:
        raise UploadDiffers(
            f"{repo_id} at commit {committed.commit[:12]} does not hold what was sent: "
            f"{'; '.join(differences)}; run the same command again, which sends what differs"
        )
    return committed


def _commit_or_find(change: Change, wait: Wait) -> Committed:
    try:
        return _commit_once(change)
    except Exception as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        may_exist = status == CAME_SECOND or (is_transient(error) and status != 429)
        if may_exist and (committed := _find_commit(change, wait)) is not None:
            return committed
        raise


def _commit_once(change: Change) -> Committed:
    repo_id = change.snapshot.repo_id
    deleted = [CommitOperationDelete(path_in_repo=name) for name in change.deleted]
    try:
        info = HfApi().create_commit(
            repo_id,
            [*deleted, *change.added],
            commit_message=change.message,
            revision=None if change.propose else change.snapshot.revision,
            create_pr=change.propose,
            parent_commit=change.snapshot.commit,
        )
    except ValueError as error:
        if "Invalid metadata in README.md" not in str(error):
            raise
        raise PublishRefused(
            f"the Hub does not take this card for {repo_id}: {' '.join(str(error).split())}"
        ) from error
    return Committed(commit=info.oid, pull_request=info.pr_num)


def _find_commit(change: Change, wait: Wait) -> Committed | None:
    """The commit that was made although no answer said so; None if it was not."""
    repo_id = change.snapshot.repo_id
    if change.propose:
        for number in open_pull_requests(repo_id, wait):
            proposed = snapshot_of(repo_id, f"{PULL_REQUEST}{number}", wait)
            if proposed is not None and not _differences(change, proposed.files):
                return Committed(commit=proposed.commit, pull_request=number)
        return None
    now = snapshot_of(repo_id, change.snapshot.revision, wait)
    if now is None or now.commit == change.snapshot.commit:
        return None
    if _differences(change, now.files):
        raise RepositoryChanged(
            f"{repo_id} was changed by somebody else (commit {now.commit[:12]}) during the upload, and "
            f"nothing was overwritten: look at that commit, then run the same command again; what was sent "
            f"is not sent again"
        )
    return Committed(commit=now.commit)


def _differences(change: Change, there: Mapping[str, RepoSibling]) -> list[str]:
    """What is wrong with the files that the Hub has after a change, a few words each."""
    missing = [f"{name} is missing" for name in change.files if name not in there]
    common = {name: file for name, file in change.files.items() if name in there}
    other = [f"{name} differs" for name, file in common.items() if not is_same(file, there[name])]
    kept = [f"{name} is still there" for name in change.deleted if name in there]
    return [*missing, *other, *kept]
