"""From bytes to a commit: preupload, large files to storage, and the commit that names them."""

import base64
import hashlib
import json

from tests.loopback.card import check_card
from tests.loopback.exchange import Account, Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import LARGE_FILE_SUFFIXES, Blob, Commit, Json, Repository

LARGE_FILE_SIZE = 10 << 20


def validate_card(exchange: Exchange) -> Answer:
    """The faults in the metadata of a card, before a commit."""
    errors, warnings = check_card(exchange.payload["content"])
    content = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return json_answer(content, status=400 if errors else 200)


def preupload(exchange: Exchange, kind: str, repo_id: str, revision: str) -> Answer:
    """Which files go to LFS, and the present files at their paths."""
    repository = _committable(exchange, kind, repo_id)
    commit = exchange.commit(repository, revision)
    files = [_upload_mode(commit, file) for file in exchange.payload["files"]]
    return json_answer({"files": files, "commitOid": commit.oid})


def _upload_mode(commit: Commit, file: Json) -> Json:
    path = file["path"]
    sample = base64.b64decode(file["sample"])
    is_large = path.endswith(LARGE_FILE_SUFFIXES) or file["size"] > LARGE_FILE_SIZE or b"\0" in sample
    present = commit.files.get(path)
    return {
        "path": path,
        "uploadMode": "lfs" if is_large else "regular",
        "shouldIgnore": False,
        "oid": present.etag if present else None,
    }


def _committable(exchange: Exchange, kind: str, repo_id: str) -> Repository:
    """A repository that the visitor may write to, or for a pull request read."""
    if not exchange.flag("create_pr"):
        return exchange.writable(kind, repo_id)
    exchange.account(write=True)
    return exchange.readable(kind, repo_id)


def lfs_batch(exchange: Exchange, repo_id: str, kind: str = "models") -> Answer:
    """Where to send each object; one without actions exists and is not sent."""
    exchange.account(write=True)
    exchange.readable(kind, repo_id)
    verify = exchange.raw_path.removesuffix("batch") + "verify"
    objects = []
    for item in exchange.payload["objects"]:
        answer = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in exchange.hub.objects:
            answer["actions"] = {
                "upload": _upload_action(exchange, item["oid"], item["size"]),
                "verify": {"href": exchange.hub.url + verify, "header": {}},
            }
        objects.append(answer)
    return json_answer({"transfer": "basic", "objects": objects})


def _upload_action(exchange: Exchange, oid: str, size: int) -> Json:
    address = f"{exchange.hub.storage_url}/storage/{oid}"
    part_size = exchange.hub.multipart_above
    if part_size is None or size <= part_size:
        return {"href": address}
    count = -(-size // part_size)
    header = {str(number): f"{address}/part/{number}" for number in range(1, count + 1)}
    return {"href": f"{address}/complete", "header": {"chunk_size": str(part_size), **header}}


def _store(exchange: Exchange, oid: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refusal(400, "the content does not match its sha256")
    exchange.hub.objects[oid] = Blob.large(data, oid)


def put_object(exchange: Exchange, oid: str) -> Answer:
    """A whole large file."""
    _store(exchange, oid, exchange.body)
    return Answer(headers={"ETag": f'"{oid}"'})


def put_part(exchange: Exchange, oid: str, number: str) -> Answer:
    """One part of a very large file."""
    exchange.hub.parts[oid, int(number)] = exchange.body
    return Answer(headers={"ETag": f'"{oid[:32]}-{number}"'})


def complete_parts(exchange: Exchange, oid: str) -> Answer:
    """Join the parts of a file once all have arrived."""
    parts = exchange.hub.parts
    numbers = sorted(part["partNumber"] for part in exchange.payload["parts"])
    missing = [number for number in numbers if (oid, number) not in parts]
    if missing:
        raise Refusal(400, f"parts {missing} were not uploaded")
    _store(exchange, oid, b"".join([parts.pop((oid, number)) for number in numbers]))
    return json_answer({"success": True})


def lfs_verify(exchange: Exchange, repo_id: str, kind: str = "models") -> Answer:
    """Check that an object arrived whole."""
    stored = exchange.hub.objects.get(exchange.payload["oid"])
    if stored is None or stored.size != exchange.payload["size"]:
        raise Refusal(404, "object not found")
    return json_answer({"message": "verified"})


def make_commit(exchange: Exchange, kind: str, repo_id: str, revision: str) -> Answer:
    """Apply all operations or none, to a branch or as a new pull request."""
    repository = _committable(exchange, kind, repo_id)
    account = exchange.account(write=True)
    header, *operations = [json.loads(line) for line in exchange.body.splitlines() if line.strip()]
    reference = repository.reference(revision)
    if reference is None:
        raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
    parent = repository.references[reference]
    title = header["value"]["summary"]
    if not title:
        raise Refusal(400, "a commit message is required")
    if not parent.startswith(header["value"].get("parentCommit") or ""):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repository.commits[parent].files)
    for operation in operations:
        _apply(operation["key"], operation["value"], files, exchange.hub.objects)
    _check_readme(files)
    message = header["value"].get("description", "")
    commit = repository.add_commit(parent, files, title, message=message, author=account.name)
    address = exchange.hub.web_address(repository)
    answer = {
        "success": True,
        "commitOid": commit.oid,
        "commitUrl": f"{address}/commit/{commit.oid}",
        "hookOutput": "",
    }
    if exchange.flag("create_pr"):
        number = _open_pull_request(repository, commit, account, reference)
        answer["pullRequestUrl"] = f"{address}/discussions/{number}"
    else:
        repository.references[reference] = commit.oid
    return json_answer(answer)


def _open_pull_request(repository: Repository, commit: Commit, account: Account, reference: str) -> int:
    discussion = repository.open_discussion(commit.title, account.name, base=reference)
    discussion.add_comment(account.name, commit.message)
    repository.references[f"refs/pr/{discussion.number}"] = commit.oid
    return discussion.number


def _apply(key: str, value: Json, files: dict[str, Blob], objects: dict[str, Blob]) -> None:
    path = value["path"]
    steps = path.split("/")
    if path.startswith("/") or ".." in steps or steps[0] == ".git":
        raise Refusal(400, f"invalid path {path}")
    match key:
        case "file":
            files[path] = Blob.regular(base64.b64decode(value["content"]))
        case "lfsFile":
            files[path] = _stored_object(path, value, objects)
        case "deletedFile":
            if files.pop(path, None) is None:
                raise Refusal(404, f"{path} does not exist", code="EntryNotFound")
        case "deletedFolder":
            for inside in [name for name in files if name.startswith(path.rstrip("/") + "/")]:
                del files[inside]
        case _:
            raise Refusal(400, f"unknown operation {key}")


def _stored_object(path: str, value: Json, objects: dict[str, Blob]) -> Blob:
    blob = objects.get(value["oid"])
    if blob is None:
        raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path}")
    if value.get("size", blob.size) != blob.size:
        raise Refusal(400, f"wrong size for {path}")
    return blob


def _check_readme(files: dict[str, Blob]) -> None:
    if "README.md" not in files:
        return
    errors, _ = check_card(files["README.md"].data.decode())
    if errors:
        message = "Invalid metadata in README.md"
        body = {"error": message, "errors": [{"message": error} for error in errors]}
        raise Refusal(400, message, body=body)
