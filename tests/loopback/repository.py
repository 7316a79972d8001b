"""What a repository is made of: blobs, commits, references, discussions.

Nothing here knows HTTP or who is asking. The bytes of a blob are kept once and hashed once.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
MAIN = "refs/heads/main"
LARGE_FILE_SUFFIXES = (
    ".safetensors",
    ".bin",
    ".onnx",
    ".onnx.data",
    ".onnx_data",
    ".gguf",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".npz",
    ".pickle",
    ".zip",
    ".tar",
    ".gz",
)


def timestamp() -> str:
    """The present moment, in the form the Hub writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short_id(text: str) -> str:
    """A stable id of 24 hexadecimal digits, like the database ids of the Hub."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _git_blob_id(data: bytes) -> str:
    digest = hashlib.sha1(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of a file, and their id in git."""

    data: bytes = field(repr=False)
    git_oid: str
    sha256: str | None = None  # only where the bytes lie in LFS and git holds a pointer to them
    pointer_size: int = 0

    @classmethod
    def regular(cls, data: bytes) -> "Blob":
        """A file in git itself."""
        return cls(data, _git_blob_id(data))

    @classmethod
    def large(cls, data: bytes, sha256: str | None = None) -> "Blob":
        """A file in LFS; a caller that knows its `sha256` saves hashing it again."""
        sha256 = sha256 or hashlib.sha256(data).hexdigest()
        version = "https://git-lfs.github.com/spec/v1"
        pointer = f"version {version}\noid sha256:{sha256}\nsize {len(data)}\n".encode()
        return cls(data, _git_blob_id(pointer), sha256, len(pointer))

    @property
    def size(self) -> int:
        """Length in bytes of the content."""
        return len(self.data)

    @property
    def etag(self) -> str:
        """The Hub's id of the content: its sha256 in LFS, else the id of the git blob."""
        return self.sha256 or self.git_oid


Files = Mapping[str, Blob]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The whole tree at one moment."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: Files = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Discussion:
    """A discussion; a pull request is one that has a `base`."""

    number: int
    title: str
    author: str
    created_at: str
    status: str
    base: str | None = None  # the reference a pull request is to be merged into
    start: str | None = None  # the commit of the base from which it started
    merge_commit: str | None = None
    events: list[Json] = field(default_factory=list)

    def add_comment(self, author: str, text: str) -> Json:
        """Add a comment; the event as the Hub shows it."""
        latest = {"raw": text, "html": text, "updatedAt": timestamp(), "author": {"name": author}}
        data = {"edited": False, "hidden": False, "latest": latest, "history": []}
        return self._add_event("comment", author, data)

    def change_status(self, author: str, status: str) -> Json:
        """Open, close or merge; the event as the Hub shows it."""
        self.status = status
        return self._add_event("status-change", author, {"status": status})

    def _add_event(self, kind: str, author: str, data: Json) -> Json:
        event = {
            "id": short_id(f"{self.number}/{len(self.events)}"),
            "type": kind,
            "createdAt": timestamp(),
            "author": {"name": author, "type": "user"},
            "data": data,
        }
        self.events.append(event)
        return event


class Repository:
    """Commits under references, as git has them, and the discussions about them."""

    def __init__(self, kind: str, repo_id: str, *, private: bool = False) -> None:
        self.kind = kind
        self.repo_id = repo_id
        self.private = private
        self.gated: bool | str = False
        self.created_at = timestamp()
        self.commits: dict[str, Commit] = {}
        self.references: dict[str, str] = {}
        self.discussions: dict[int, Discussion] = {}
        self.granted: set[str] = set()  # users who were let through the gate
        self.requests: dict[str, str] = {}  # what became of those of other users, in the words of the Hub
        attributes = Blob.regular(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        first = self.add_commit(None, {".gitattributes": attributes}, "initial commit")
        self.references[MAIN] = first.oid

    def add_commit(
        self,
        parent: str | None,
        files: Files,
        title: str,
        *,
        message: str = "",
        author: str = "system",
    ) -> Commit:
        """Store a commit; the caller moves a reference onto it."""
        date = timestamp()
        tree = {path: blob.git_oid for path, blob in sorted(files.items())}
        content = json.dumps([parent, tree, title, message, author, date, len(self.commits)])
        commit = Commit(
            oid=hashlib.sha1(content.encode()).hexdigest(),
            parent=parent,
            title=title,
            message=message,
            author=author,
            date=date,
            files=dict(files),
        )
        self.commits[commit.oid] = commit
        return commit

    def reference(self, revision: str) -> str | None:
        """The full name of a branch, pull request or other reference that can be committed to."""
        candidates = (revision, f"refs/heads/{revision}")
        return next((name for name in candidates if name in self.references), None)

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a reference or the start of a commit id names."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.references:
                return self.commits[self.references[name]]
        if len(revision) < 7:
            return None
        matches = [oid for oid in self.commits if oid.startswith(revision)]
        return self.commits[matches[0]] if len(matches) == 1 else None

    def history(self, commit: Commit) -> list[Commit]:
        """A commit and its ancestors, newest first."""
        commits = [commit]
        while commits[-1].parent is not None:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def open_discussion(
        self, title: str, author: str, *, base: str | None = None, status: str = "open"
    ) -> Discussion:
        """Start a discussion, or with a `base` a pull request that does not change anything yet."""
        number = len(self.discussions) + 1
        discussion = Discussion(
            number=number,
            title=title,
            author=author,
            created_at=timestamp(),
            status=status,
            base=base,
            start=self.references[base] if base else None,
        )
        self.discussions[number] = discussion
        if base:
            self.references[f"refs/pr/{number}"] = self.references[base]
        return discussion
