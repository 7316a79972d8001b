"""GitHub's issues on loopback: the calls of its REST API that list, open, change, comment and close them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

REPOSITORY = "acme/models"
TOKEN = "ghs_test"


class LoopbackIssues:
    """The issues of one repository, for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self.calls: list[str] = []
        issues = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                issues.handle(self)

            do_POST = do_PATCH = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell a job its repository."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "77",
        }

    @property
    def open(self) -> list[dict[str, Any]]:
        """The open issues, the oldest first."""
        return [issue for issue in self.issues if issue["state"] == "open"]

    def add(self, **fields: Any) -> dict[str, Any]:
        """Add an issue, or with `pull_request` a pull request."""
        number = len(self.issues) + 1
        issue = {"number": number, "title": "", "body": None, "state": "open", **fields}
        issue["html_url"] = f"https://github.com/{REPOSITORY}/issues/{number}"
        self.issues.append(issue)
        return issue

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = int(request.headers.get("Content-Length") or 0)
        content = json.loads(request.rfile.read(length) or b"{}")
        status, answer = self._answer(request, content)
        body = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json; charset=utf-8")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _answer(self, request: BaseHTTPRequestHandler, content: dict[str, Any]) -> tuple[int, Any]:
        address = urlsplit(request.path)
        self.calls.append(f"{request.command} {address.path}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 403, {"message": "Resource not accessible by integration"}
        prefix = f"/repos/{REPOSITORY}/issues"
        if not address.path.startswith(prefix):
            return 404, {"message": "Not Found"}
        parts = address.path.removeprefix(prefix).strip("/").split("/")
        if request.command == "GET":
            return 200, self._listed(parse_qs(address.query))
        if request.command == "POST" and parts == [""]:
            return 201, self.add(title=content["title"], body=content["body"])
        issue = self.issues[int(parts[0]) - 1]
        if request.command == "POST" and parts[1:] == ["comments"]:
            self.comments.append((issue["number"], content["body"]))
            return 201, {"id": len(self.comments)}
        if request.command == "PATCH" and len(parts) == 1:
            issue.update(content)
            return 200, issue
        return 404, {"message": "Not Found"}

    def _listed(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """One page, the newest first: GitHub's default."""
        size, page = int(query.get("per_page", ["30"])[0]), int(query.get("page", ["1"])[0])
        assert size <= 100
        state = query.get("state", ["open"])[0]
        found = [issue for issue in reversed(self.issues) if issue["state"] == state]
        return found[(page - 1) * size : page * size]
