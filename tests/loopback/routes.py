"""Every endpoint of the loopback Hub, and its handler."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.loopback import (
    collections,
    discussions,
    files,
    identity,
    information,
    jobs,
    revisions,
    trust,
    upload,
)
from tests.loopback.exchange import Answer

Handler = Callable[..., Answer]

PLACEHOLDERS = {
    "kind": "models|datasets|spaces",
    "repo_id": "[^/]+/[^/]+",
    "revision": "[^/]+",  # a slash in it comes quoted
    "name": "[^/]+",
    "slug": "[^/]+/[^/]+",
    "folder": ".*",
    "path": ".+",
    "number": r"\d+",
    "oid": "[0-9a-f]{64}",
    "job": "[0-9a-f]{24}",
}


@dataclass(frozen=True)
class Route:
    """A method and a path template, and their handler."""

    method: str
    template: str
    handler: Handler
    expression: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Turn the template into an expression."""
        expression = re.sub(
            r"\\{(\w+)\\}",
            lambda match: f"(?P<{match[1]}>{PLACEHOLDERS[match[1]]})",
            re.escape(self.template),
        )
        object.__setattr__(self, "expression", re.compile(expression))

    def match(self, method: str, raw_path: str) -> dict[str, str] | None:
        """The parts of the path, unquoted, if this is its route; HEAD goes where GET goes."""
        wanted = "GET" if method == "HEAD" else method
        match = self.expression.fullmatch(raw_path) if wanted == self.method else None
        if match is None:
            return None
        return {name: unquote(part) for name, part in match.groupdict().items()}


API = "/api/{kind}/{repo_id}"
LFS = ".git/info/lfs/objects"

ROUTES = (
    Route("GET", "/api/whoami-v2", identity.whoami),
    Route("POST", "/oauth/token", trust.exchange_token),
    Route("GET", "/ci/id-token", trust.identify_job),
    Route("GET", "/api/agent-harnesses", identity.agent_harnesses),
    Route("POST", "/api/validate-yaml", upload.validate_card),
    Route("POST", "/api/repos/create", identity.create_repository),
    Route("DELETE", "/api/repos/delete", identity.delete_repository),
    Route("PUT", API + "/settings", identity.change_settings),
    Route("GET", API + "/auth-check", identity.check_read_access),
    Route("GET", API + "/auth-check/write", identity.check_write_access),
    Route("GET", "/api/{kind}", information.list_repositories),
    Route("GET", API, information.repository_information),
    Route("GET", API + "/revision/{revision}", information.repository_information),
    Route(
        "GET",
        "/api/models/{repo_id}/safetensors-metadata/{path}",
        information.safetensors_metadata,
    ),
    Route("GET", API + "/tree/{revision}", files.list_tree),
    Route("GET", API + "/tree/{revision}/{folder}", files.list_tree),
    Route("POST", API + "/paths-info/{revision}", files.paths_information),
    Route("GET", "/{repo_id}/resolve/{revision}/{path}", files.resolve),
    Route("GET", "/{kind}/{repo_id}/resolve/{revision}/{path}", files.resolve),
    Route("GET", "/storage/{oid}", files.read_storage),
    Route("POST", API + "/preupload/{revision}", upload.preupload),
    Route("POST", "/{repo_id}" + LFS + "/batch", upload.lfs_batch),
    Route("POST", "/{kind}/{repo_id}" + LFS + "/batch", upload.lfs_batch),
    Route("POST", "/{repo_id}" + LFS + "/verify", upload.lfs_verify),
    Route("POST", "/{kind}/{repo_id}" + LFS + "/verify", upload.lfs_verify),
    Route("PUT", "/storage/{oid}", upload.put_object),
    Route("PUT", "/storage/{oid}/part/{number}", upload.put_part),
    Route("POST", "/storage/{oid}/complete", upload.complete_parts),
    Route("POST", API + "/commit/{revision}", upload.make_commit),
    Route("GET", "/api/collections/{slug}", collections.get_collection),
    Route("POST", "/api/collections/{slug}/items", collections.add_item),
    Route("GET", API + "/refs", revisions.list_references),
    Route("GET", API + "/commits/{revision}", revisions.list_commits),
    Route("POST", API + "/branch/{name}", revisions.create_branch),
    Route("POST", API + "/tag/{revision}", revisions.create_tag),
    Route("GET", API + "/discussions", discussions.list_discussions),
    Route("POST", API + "/discussions", discussions.create_discussion),
    Route("GET", API + "/discussions/{number}", discussions.get_discussion),
    Route("POST", API + "/discussions/{number}/comment", discussions.comment),
    Route("POST", API + "/discussions/{number}/status", discussions.change_status),
    Route("POST", API + "/discussions/{number}/merge", discussions.merge),
    Route("GET", "/api/jobs/hardware", jobs.list_hardware),
    Route("POST", "/api/jobs/{name}", jobs.start_job),
    Route("GET", "/api/jobs/{name}/{job}", jobs.inspect_job),
    Route("GET", "/api/jobs/{name}/{job}/logs", jobs.read_log),
    Route("GET", "/api/scheduled-jobs/{name}", jobs.list_schedules),
    Route("POST", "/api/scheduled-jobs/{name}", jobs.create_schedule),
    Route("DELETE", "/api/scheduled-jobs/{name}/{job}", jobs.delete_schedule),
    Route("GET", "/api/settings/webhooks", jobs.list_webhooks),
    Route("POST", "/api/settings/webhooks", jobs.create_webhook),
    Route("DELETE", "/api/settings/webhooks/{job}", jobs.delete_webhook),
)


def find_route(method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a request and the parts of its path."""
    for route in ROUTES:
        parts = route.match(method, raw_path)
        if parts is not None:
            return route, parts
    return None
