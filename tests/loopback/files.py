"""Listing the files of a commit and handing out their bytes."""

import hashlib
import re
from email.utils import formatdate
from urllib.parse import parse_qs, quote

from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import Blob, Commit, Json, Repository

BYTE_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def list_tree(exchange: Exchange, kind: str, repo_id: str, revision: str, folder: str = "") -> Answer:
    """One page of a folder: its folders first, then its files."""
    repository = exchange.repository(kind, repo_id)
    commit = exchange.commit(repository, revision)
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    entries = _entries(exchange, repository, commit, prefix)
    if prefix and not entries:
        raise Refusal(404, f"{folder} does not exist on {revision}", code="EntryNotFound")
    start = int(exchange.parameter("cursor", "0"))
    end = start + exchange.hub.page_size
    headers = _next_page(exchange, end) if end < len(entries) else {}
    return json_answer(entries[start:end], headers=headers)


def _entries(exchange: Exchange, repository: Repository, commit: Commit, prefix: str) -> list[Json]:
    recursive = exchange.flag("recursive")
    folders: dict[str, Json] = {}
    files: list[Json] = []
    for path in sorted(commit.files):
        if not path.startswith(prefix):
            continue
        steps = path.removeprefix(prefix).split("/")
        depths = range(1, len(steps)) if recursive else range(1, min(2, len(steps)))
        for depth in depths:
            name = prefix + "/".join(steps[:depth])
            oid = hashlib.sha1(name.encode()).hexdigest()
            folders[name] = {"type": "directory", "oid": oid, "size": 0, "path": name}
        if recursive or len(steps) == 1:
            files.append(_file_entry(repository, commit, path, expand=exchange.flag("expand")))
    return [*folders.values(), *files]


def _next_page(exchange: Exchange, cursor: int) -> dict[str, str]:
    others = [f"{name}={quote(values[0])}&" for name, values in exchange.query.items() if name != "cursor"]
    address = f"{exchange.hub.url}{exchange.raw_path}?{''.join(others)}cursor={cursor}"
    return {"Link": f'<{address}>; rel="next"'}


def _file_entry(repository: Repository, commit: Commit, path: str, *, expand: bool) -> Json:
    blob = commit.files[path]
    entry: Json = {"type": "file", "oid": blob.git_oid, "size": blob.size, "path": path}
    if blob.sha256:
        pointer_size = blob.pointer_size
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": pointer_size}
    if expand:
        last = _last_change(repository, commit, path)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return entry


def _last_change(repository: Repository, commit: Commit, path: str) -> Commit:
    """The commit that last changed a file."""
    blob = commit.files[path]
    for earlier in repository.history(commit):
        if earlier.files.get(path) != blob:
            break
        commit = earlier
    return commit


def paths_information(exchange: Exchange, kind: str, repo_id: str, revision: str) -> Answer:
    """The entries of the requested paths that exist."""
    repository = exchange.repository(kind, repo_id)
    commit = exchange.commit(repository, revision)
    form = parse_qs(exchange.body.decode())
    expand = form.get("expand") == ["true"]
    entries = [
        _file_entry(repository, commit, path, expand=expand)
        for path in form.get("paths", [])
        if path in commit.files
    ]
    return json_answer(entries)


def resolve(exchange: Exchange, repo_id: str, revision: str, path: str, kind: str = "models") -> Answer:
    """The bytes of a file, or for a large one the way to the storage host.

    A redirect carries the etag and the size of the file it leads to: the client reads them there,
    and does not follow.
    """
    repository = exchange.readable(kind, repo_id)
    commit = exchange.commit(repository, revision)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    blob = commit.files.get(path)
    if blob is None:
        return Refusal(404, "Entry not found", code="EntryNotFound").answer(headers)
    if blob.sha256 is None:
        return _content(exchange, blob, headers)
    headers["X-Linked-Etag"] = f'"{blob.etag}"'
    headers["X-Linked-Size"] = str(blob.size)
    headers["Location"] = f"{exchange.hub.storage_url}/storage/{blob.sha256}"
    return Answer(302, headers=headers)


def read_storage(exchange: Exchange, oid: str) -> Answer:
    """The bytes of a large file. The request must not carry the token of the Hub."""
    if "Authorization" in exchange.headers:
        raise Refusal(400, "a token was sent to the storage host")
    if oid not in exchange.hub.objects:
        raise Refusal(404, "no such object")
    return _content(exchange, exchange.hub.objects[oid], {"Accept-Ranges": "bytes"})


def _content(exchange: Exchange, blob: Blob, headers: dict[str, str]) -> Answer:
    headers["ETag"] = f'"{blob.etag}"'
    headers["Last-Modified"] = formatdate(usegmt=True)
    wanted = BYTE_RANGE.fullmatch(exchange.headers.get("Range", ""))
    if wanted is None:
        return Answer(200, blob.data, headers)
    start = int(wanted[1])
    end = min(int(wanted[2] or blob.size), blob.size - 1)
    if start >= blob.size:
        return Answer(416, headers={"Content-Range": f"bytes */{blob.size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{blob.size}"
    return Answer(206, memoryview(blob.data)[start : end + 1], headers)
