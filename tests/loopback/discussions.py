"""Discussions and pull requests: opened, talked about, closed, merged."""

from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import MAIN, Blob, Discussion, Json, Repository


def list_discussions(exchange: Exchange, kind: str, repo_id: str) -> Answer:
    """The discussions of the requested type, status and author, on one page."""
    repository = exchange.repository(kind, repo_id)
    found = [
        _outline(repository, discussion)
        for discussion in repository.discussions.values()
        if _is_requested(exchange, discussion)
    ]
    return json_answer({"discussions": found, "count": len(found), "start": 0})


def _is_requested(exchange: Exchange, discussion: Discussion) -> bool:
    kind = "pull_request" if discussion.base else "discussion"
    is_open = discussion.status in ("open", "draft")
    return (
        exchange.parameter("type", "all") in ("all", kind)
        and exchange.parameter("status", "all") in ("all", "open" if is_open else "closed")
        and exchange.parameter("author") in ("", discussion.author)
    )


def create_discussion(exchange: Exchange, kind: str, repo_id: str) -> Answer:
    """A discussion, or a pull request that is a draft until it has commits and is opened."""
    repository = exchange.repository(kind, repo_id)
    account = exchange.account(write=True)
    payload = exchange.payload
    is_pull_request = bool(payload.get("pullRequest"))
    discussion = repository.open_discussion(
        payload["title"],
        account.name,
        base=MAIN if is_pull_request else None,
        status="draft" if is_pull_request else "open",
    )
    discussion.add_comment(account.name, payload.get("description", ""))
    return json_answer({"num": discussion.number, "pullRequest": is_pull_request})


def get_discussion(exchange: Exchange, kind: str, repo_id: str, number: str) -> Answer:
    """A discussion with its events."""
    repository = exchange.repository(kind, repo_id)
    discussion = _discussion(repository, number)
    content = _outline(repository, discussion)
    content["events"] = discussion.events
    content["filesWithConflicts"] = []
    content["diff"] = ""
    if discussion.base:
        merge_commit = discussion.merge_commit
        content["changes"] = {"base": discussion.base, "mergeCommitId": merge_commit}
    return json_answer(content)


def comment(exchange: Exchange, kind: str, repo_id: str, number: str) -> Answer:
    """Add a comment."""
    discussion = _discussion(exchange.repository(kind, repo_id), number)
    account = exchange.account(write=True)
    event = discussion.add_comment(account.name, exchange.payload["comment"])
    return json_answer({"newMessage": event})


def change_status(exchange: Exchange, kind: str, repo_id: str, number: str) -> Answer:
    """Open or close a discussion."""
    discussion = _discussion(exchange.repository(kind, repo_id), number)
    account = exchange.account(write=True)
    event = discussion.change_status(account.name, exchange.payload["status"])
    return json_answer({"newStatus": event})


def merge(exchange: Exchange, kind: str, repo_id: str, number: str) -> Answer:
    """Apply the changes of a pull request to the present files of its base."""
    repository = exchange.writable(kind, repo_id)
    account = exchange.account(write=True)
    discussion = _discussion(repository, number)
    if discussion.base is None or discussion.status not in ("open", "draft"):
        raise Refusal(400, f"discussion {number} is not an open pull request")
    commit = repository.add_commit(
        repository.references[discussion.base],
        _merged_files(repository, discussion),
        f"Merge PR #{number}",
        message=exchange.payload.get("comment") or "",
        author=account.name,
    )
    repository.references[discussion.base] = commit.oid
    discussion.merge_commit = commit.oid
    event = discussion.change_status(account.name, "merged")
    return json_answer({"newStatus": event})


def _merged_files(repository: Repository, discussion: Discussion) -> dict[str, Blob]:
    """Three-way over whole files: where both sides changed one, the pull request wins."""
    assert discussion.base is not None
    assert discussion.start is not None
    start = repository.commits[discussion.start].files
    proposed = repository.commits[repository.references[f"refs/pr/{discussion.number}"]].files
    merged = dict(repository.commits[repository.references[discussion.base]].files)
    merged.update({path: blob for path, blob in proposed.items() if start.get(path) is not blob})
    for path in start.keys() - proposed.keys():
        merged.pop(path, None)
    return merged


def _discussion(repository: Repository, number: str) -> Discussion:
    discussion = repository.discussions.get(int(number))
    if discussion is None:
        raise Refusal(404, "Discussion not found")
    return discussion


def _outline(repository: Repository, discussion: Discussion) -> Json:
    return {
        "num": discussion.number,
        "title": discussion.title,
        "status": discussion.status,
        "isPullRequest": discussion.base is not None,
        "createdAt": discussion.created_at,
        "author": {"name": discussion.author, "type": "user"},
        "repo": {"name": repository.repo_id, "type": repository.kind},
    }
