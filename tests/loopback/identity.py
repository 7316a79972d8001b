"""Who is asking, and the life of a repository: created, opened, closed, deleted."""

from tests.loopback.exchange import Answer, Exchange, Refusal, json_answer
from tests.loopback.repository import Json, Repository, short_id, timestamp


def whoami(exchange: Exchange) -> Answer:
    """The user of the token, and the role the token has. The token of a job is no user's."""
    account = exchange.account()
    if account.publisher_of:
        raise Refusal(403, "This token has no user")
    organizations = [
        {
            "type": "org",
            "id": short_id(name),
            "name": name,
            "roleInOrg": account.roles.get(name, "admin"),
        }
        for name in account.organizations
    ]
    token: Json = {
        "displayName": "test",
        "role": "write" if account.can_write else "read",
        "createdAt": timestamp(),
    }
    if account.scopes is not None:
        token["role"] = "fineGrained"
        token["fineGrained"] = {
            "canReadGatedRepos": account.reads_gated,
            "global": ["discussion.write"],
            "scoped": [
                {
                    "entity": {"_id": short_id(scope.name), "type": scope.kind, "name": scope.name},
                    "permissions": list(scope.permissions),
                }
                for scope in account.scopes
            ],
        }
    return json_answer(
        {
            "type": "user",
            "id": short_id(account.name),
            "name": account.name,
            "fullname": account.name,
            "email": f"{account.name}@example.invalid",
            "emailVerified": True,
            "isPro": False,
            "canPay": False,
            "orgs": organizations,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def agent_harnesses(exchange: Exchange) -> Answer:
    """The registry by which the client learns whether an AI agent runs it: empty here."""
    return json_answer({"standardEnvVars": ["AI_AGENT", "AGENT"], "harnesses": {}})


def _named_repository(exchange: Exchange) -> tuple[str, str]:
    payload = exchange.payload
    namespace = payload.get("organization") or exchange.account(write=True).name
    return payload.get("type") or "model", f"{namespace}/{payload['name']}"


def create_repository(exchange: Exchange) -> Answer:
    """A new repository. 409 names the one that is there: `exist_ok` of the client needs its url."""
    hub = exchange.hub
    kind, repo_id = _named_repository(exchange)
    if exchange.account().publisher_of:
        raise Refusal(401, "The token of a job makes no repository")
    exchange.owner(repo_id)
    existing = hub.repositories.get((kind, repo_id.lower()))
    if existing is not None:
        message = f"You already created this {kind} repo"
        body = {"error": message, "url": hub.web_address(existing)}
        raise Refusal(409, message, body=body)
    payload = exchange.payload
    private = payload.get("visibility") == "private" or payload.get("private") is True
    repository = Repository(kind, repo_id, private=private)
    hub.repositories[kind, repo_id.lower()] = repository
    answer = {"url": hub.web_address(repository), "name": repo_id, "id": short_id(repo_id)}
    return json_answer(answer)


def delete_repository(exchange: Exchange) -> Answer:
    """Delete a repository with all its history."""
    kind, repo_id = _named_repository(exchange)
    exchange.writable(f"{kind}s", repo_id)
    del exchange.hub.repositories[kind, repo_id.lower()]
    return json_answer({})


def change_settings(exchange: Exchange, kind: str, repo_id: str) -> Answer:
    """Change the visibility and the gate."""
    repository = exchange.writable(kind, repo_id)
    payload = exchange.payload
    if "visibility" in payload:
        repository.private = payload["visibility"] == "private"
    repository.private = payload.get("private", repository.private)
    repository.gated = payload.get("gated", repository.gated)
    return json_answer({"private": repository.private, "gated": repository.gated})


def check_read_access(exchange: Exchange, kind: str, repo_id: str) -> Answer:
    """Check that the user may read the files."""
    exchange.readable(kind, repo_id)
    return json_answer({})


def check_write_access(exchange: Exchange, kind: str, repo_id: str) -> Answer:
    """Check that the user may commit."""
    exchange.writable(kind, repo_id)
    return json_answer({})
