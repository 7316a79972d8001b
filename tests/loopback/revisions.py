"""Branches, tags and history."""

from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import Json, Repository


def list_references(exchange: Exchange, kind: str, repo_id: str) -> Answer:
    """Branches and tags, and on request the pull requests."""
    repository = exchange.repository(kind, repo_id)
    content: Json = {
        "branches": _references(repository, "refs/heads/"),
        "tags": _references(repository, "refs/tags/"),
        "converts": [],
    }
    if exchange.flag("include_prs"):
        content["pullRequests"] = _references(repository, "refs/pr/")
    return json_answer(content)


def _references(repository: Repository, prefix: str) -> list[Json]:
    return [
        {"name": reference.removeprefix(prefix), "ref": reference, "targetCommit": oid}
        for reference, oid in repository.references.items()
        if reference.startswith(prefix)
    ]


def list_commits(exchange: Exchange, kind: str, repo_id: str, revision: str) -> Answer:
    """The history of a revision, newest first."""
    repository = exchange.repository(kind, repo_id)
    commits = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in repository.history(exchange.commit(repository, revision))
    ]
    return json_answer(commits)


def create_branch(exchange: Exchange, kind: str, repo_id: str, name: str) -> Answer:
    """A branch from the starting point in the body."""
    repository = exchange.writable(kind, repo_id)
    start = exchange.payload.get("startingPoint", "main")
    return _create_reference(exchange, repository, f"refs/heads/{name}", start)


def create_tag(exchange: Exchange, kind: str, repo_id: str, revision: str) -> Answer:
    """A tag on the revision in the path; its own name is in the body."""
    repository = exchange.writable(kind, repo_id)
    reference = f"refs/tags/{exchange.payload['tag']}"
    return _create_reference(exchange, repository, reference, revision)


def _create_reference(exchange: Exchange, repository: Repository, reference: str, start: str) -> Answer:
    if reference in repository.references:
        raise Refusal(409, f"Reference already exists: {reference}")
    repository.references[reference] = exchange.commit(repository, start).oid
    return json_answer({})
