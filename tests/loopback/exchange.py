"""One request as a route handler sees it, the answers it can give, and who may do what."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.loopback.repository import KINDS, Commit, Json, Repository

if TYPE_CHECKING:
    from tests.loopback.server import LoopbackHub

GATES_NOT_READ = (
    "Please enable access to public gated repositories in your fine-grained token settings to view this "
    "repository."
)
FORBIDDEN_WRITE = "You don't have the required permissions: write"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a fine-grained token may do to the repositories of a user or an organization, or to one."""

    kind: str  # "user", "org" or "model"
    name: str
    permissions: tuple[str, ...]

    def covers(self, repo_id: str) -> bool:
        """Whether it covers a repository."""
        return self.name == (repo_id if self.kind == "model" else repo_id.split("/")[0])


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user behind a token, and what the token may do."""

    name: str
    organizations: tuple[str, ...] = ()
    can_write: bool = True
    roles: Mapping[str, str] = field(default_factory=dict)  # in organizations; admin where none is given
    scopes: tuple[Scope, ...] | None = None  # of a fine-grained token
    reads_gated: bool = True
    publisher_of: str | None = None  # the token of a job, which may write to this repository alone

    def owns(self, repo_id: str) -> bool:
        """Whether a repository lies in a namespace of this user, or is the one of this job."""
        return repo_id == self.publisher_of or repo_id.split("/")[0] in (self.name, *self.organizations)

    def may_write_to(self, repo_id: str) -> bool:
        """Whether the token, and the user's role, let them write there."""
        if not self.can_write or not self.owns(repo_id):
            return False
        if self.roles.get(repo_id.split("/")[0], "admin") == "read":
            return False
        if self.scopes is None:
            return True
        granted = [scope.permissions for scope in self.scopes if scope.covers(repo_id)]
        return any("repo.write" in permissions for permissions in granted)


@dataclass(frozen=True)
class Answer:
    """A response before it is written."""

    status: int = 200
    body: bytes | memoryview = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"


def json_answer(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    body = json.dumps(content).encode()
    return Answer(status, body, headers or {}, "application/json; charset=utf-8")


class Refusal(Exception):
    """The Hub says no: status, message, and the code huggingface_hub picks its exception by."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, body: Json | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.body = body or {"error": message}

    def answer(self, headers: dict[str, str] | None = None) -> Answer:
        """The response that carries it."""
        headers = {"X-Error-Message": self.message, **(headers or {})}
        if self.code:
            headers["X-Error-Code"] = self.code
        return json_answer(self.body, status=self.status, headers=headers)


class Exchange:
    """A request with its body, and the checks that most handlers begin with."""

    def __init__(
        self,
        hub: "LoopbackHub",
        method: str,
        raw_path: str,
        query: str,
        headers: Message,
        body: bytes,
    ) -> None:
        self.hub = hub
        self.method = method
        self.raw_path = raw_path
        self.query = parse_qs(query, keep_blank_values=True)
        self.headers = headers
        self.body = body

    @cached_property
    def payload(self) -> Json:
        """The body, read as JSON."""
        content: Json = json.loads(self.body or b"{}")
        return content

    def parameter(self, name: str, default: str = "") -> str:
        """One value from the query."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """A yes or no from the query."""
        return self.parameter(name).lower() in ("1", "true", "yes")

    def visitor(self) -> Account | None:
        """The account of the request; None without a token. An unknown token is refused."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not token:
            return None
        if token not in self.hub.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[token]

    def account(self, *, write: bool = False) -> Account:
        """The account of the request, which needs a token, and with `write` one that may write."""
        account = self.visitor()
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        if write and not account.can_write:
            raise Refusal(403, FORBIDDEN_WRITE)
        return account

    def owner(self, repo_id: str) -> Account:
        """The account of the request, which has to be able to write to this namespace."""
        account = self.account(write=True)
        if not account.may_write_to(repo_id):
            raise Refusal(403, f"You don't have the rights to write to {repo_id}")
        return account

    def repository(self, kind: str, repo_id: str) -> Repository:
        """A repository that the visitor may see. Missing and private ones look alike."""
        visitor = self.visitor()
        repository = self.hub.repositories.get((KINDS[kind], repo_id.lower()))
        owned = visitor is not None and visitor.owns(repo_id)
        if repository is None or (repository.private and not owned):
            if visitor is None:
                raise Refusal(401, "Invalid username or password.", code="RepoNotFound")
            raise Refusal(404, "Repository not found", code="RepoNotFound")
        return repository

    def readable(self, kind: str, repo_id: str) -> Repository:
        """A repository whose files the visitor may read. A gated one needs a grant."""
        repository = self.repository(kind, repo_id)
        visitor = self.visitor()
        if not repository.gated:
            return repository
        if visitor and not visitor.reads_gated:
            raise Refusal(403, GATES_NOT_READ)
        if visitor and (visitor.owns(repo_id) or visitor.name in repository.granted):
            return repository
        named = f"{repository.kind} {repository.repo_id}"
        if visitor is None:
            message = (
                f"Access to {named} is restricted. You must have access to it and be authenticated to "
                f"access it. Please log in."
            )
            raise Refusal(401, message, code="GatedRepo")
        requested = repository.requests.get(visitor.name)
        message = (
            f"Your request to access {named} {requested}"
            if requested
            else (
                f"Access to {named} is restricted and you are not in the authorized list. "
                f"Visit {self.hub.web_address(repository)} to ask for access."
            )
        )
        raise Refusal(403, message, code="GatedRepo")

    def writable(self, kind: str, repo_id: str) -> Repository:
        """A repository the visitor may write to."""
        self.account(write=True)
        repository = self.repository(kind, repo_id)
        self.owner(repo_id)
        return repository

    def commit(self, repository: Repository, revision: str) -> Commit:
        """The commit that a revision names."""
        commit = repository.find(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return commit
