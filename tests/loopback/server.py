"""The loopback Hub itself: its state, its port, and the reading and writing of HTTP."""

import contextlib
import re
import socket
import sys
import threading
import traceback
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from tests.loopback.exchange import Account, Answer, Exchange, Refusal, json_answer
from tests.loopback.faults import Call, Fault, FaultQueue, cut_point
from tests.loopback.jobs import Job, JobEnd
from tests.loopback.repository import LARGE_FILE_SUFFIXES, MAIN, Blob, Json, Repository
from tests.loopback.routes import Route, find_route

PIECE = 1 << 20
DEFAULT_ACCOUNTS = {
    "hf_test": Account(name="tester", organizations=("acme",)),
    "hf_read": Account(name="reader", can_write=False),
}


class LoopbackHub:
    """A Hub on a free port of 127.0.0.1, for as long as the `with` block lasts.

    A test ends by asserting that `unknown` (requests without a route) and `crashes` (errors of the
    Hub itself) are empty.

    Args:
        tokens: The account behind each token; `hf_test` may write, `hf_read` may not.
        multipart_above: Objects larger than this many bytes are uploaded in parts of this size.
        page_size: Entries on one page of a tree listing.
    """

    def __init__(
        self,
        *,
        tokens: Mapping[str, Account] | None = None,
        multipart_above: int | None = None,
        page_size: int = 1000,
    ) -> None:
        self.tokens = dict(tokens or DEFAULT_ACCOUNTS)
        self.multipart_above = multipart_above
        self.page_size = page_size
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.collections: dict[str, list[Json]] = {}  # items by the slug of the collection
        self.trusted: dict[str, str] = {}  # the resource that a job may have a token for, by its id token
        self.objects: dict[str, Blob] = {}  # large files that were uploaded, by their sha256
        self.parts: dict[tuple[str, int], bytes] = {}
        self.jobs: dict[str, Job] = {}
        self.job_end = JobEnd()  # of the jobs that are started from now on
        self.schedules: dict[str, Json] = {}
        self.webhooks: dict[str, Json] = {}
        self.calls: list[Call] = []
        self.unknown: list[tuple[str, str]] = []
        self.crashes: list[str] = []
        self.holding = threading.Event()  # set while a request is held
        self._faults = FaultQueue()
        self._lock = threading.RLock()
        self._server = _Server(self)
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        # Storage has another host NAME: the client follows redirects that stay on the host of the
        # endpoint (and would miss X-Repo-Commit), and keeps its token from those that leave it.
        self.storage_url = f"http://localhost:{port}"

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_repository(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        kind: str = "model",
        private: bool = False,
        gated: bool | str = False,
    ) -> Repository:
        """Add a repository without the API: `files` maps a path to bytes."""
        repository = Repository(kind, repo_id, private=private)
        repository.gated = gated
        first = repository.references[MAIN]
        tree = dict(repository.commits[first].files)
        for path, data in files.items():
            is_large = path.endswith(LARGE_FILE_SUFFIXES)
            blob = Blob.large(data) if is_large else Blob.regular(data)
            tree[path] = blob
            if blob.sha256:
                self.objects[blob.sha256] = blob
        repository.references[MAIN] = repository.add_commit(first, tree, "seed").oid
        self.repositories[kind, repo_id.lower()] = repository
        return repository

    def files(self, repo_id: str, revision: str = "main", *, kind: str = "model") -> dict[str, bytes]:
        """The files of a repository at a revision, without the API."""
        commit = self.repositories[kind, repo_id.lower()].find(revision)
        if commit is None:
            raise KeyError(f"{repo_id} has no revision {revision}")
        return {path: blob.data for path, blob in commit.files.items()}

    def web_address(self, repository: Repository) -> str:
        """The page of a repository."""
        prefix = "" if repository.kind == "model" else f"{repository.kind}s/"
        return f"{self.url}/{prefix}{repository.repo_id}"

    def inject(self, *faults: Fault) -> None:
        """Inject faults, each for the next requests that it matches."""
        with self._lock:
            self._faults.pending.extend(faults)

    @property
    def pending_faults(self) -> tuple[Fault, ...]:
        """Faults that no request has met yet, with their remaining times."""
        return tuple(self._faults.pending)

    def forget_faults(self) -> None:
        """Drop all faults."""
        with self._lock:
            self._faults.pending.clear()

    def calls_to(self, method: str, path: str = "") -> list[Call]:
        """The calls with this method whose raw path matches the regular expression somewhere."""
        return [call for call in self.calls if call.method == method and re.search(path, call.path)]

    def find_route(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a request; a request without one is recorded."""
        found = find_route(method, raw_path)
        if found is None:
            self.unknown.append((method, raw_path))
        return found

    def take_fault(self, method: str, raw_path: str) -> Fault | None:
        """The fault for a request, which uses it up."""
        with self._lock:
            return self._faults.take(method, raw_path)

    def answer(self, route: Route, exchange: Exchange, parts: dict[str, str]) -> Answer:
        """Run a route, one request at a time. A crash is recorded and answered with 500."""
        with self._lock:
            try:
                return route.handler(exchange, **parts)
            except Refusal as refusal:
                return refusal.answer()
            except Exception:
                self.crashes.append(traceback.format_exc())
                return json_answer({"error": traceback.format_exc()}, status=500)


class _Connection(BaseHTTPRequestHandler):
    """One connection, which may carry many requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def serve_request(self) -> None:
        """Read a request, apply its fault or its route, and write the answer."""
        hub = self.server.hub
        address = urlsplit(self.path)
        found = hub.find_route(self.command, address.path)
        if found is None:
            self._read_body()
            message = f"the loopback Hub has no route for {self.command} {address.path}"
            self._send(Refusal(501, message).answer())
            return
        route, parts = found
        fault = hub.take_fault(self.command, address.path)
        if fault and fault.cut_request_at is not None:
            received = self._skip_body(fault.cut_request_at)
            self._record(route, received, fault)
            self.close_connection = True
            return
        if fault and fault.hold_request_at is not None:
            self._hold(route, fault, fault.hold_request_at)
            return
        body = _garbled(self._read_body(), fault)
        if fault and fault.status is not None:
            refusal = Refusal(fault.status, f"injected fault: {fault.status}")
            answer = refusal.answer(dict(fault.headers))
        else:
            exchange = Exchange(hub, self.command, address.path, address.query, self.headers, body)
            answer = hub.answer(route, exchange, parts)
        sent = len(answer.body) if self.command != "HEAD" else 0
        if fault and fault.cut_response_at is not None:
            sent = cut_point(fault.cut_response_at, sent)
        # Before the answer, so that a test that has read the answer finds the call.
        self._record(route, len(body), fault, answer.status, sent)
        self._send(answer, sent)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = serve_request

    def _body_length(self) -> int | None:
        """Length of the request body, None if it comes in chunks."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return None
        return int(self.headers.get("Content-Length", 0))

    def _read_body(self) -> bytes:
        length = self._body_length()
        if length is None:
            return b"".join(iter(self._read_chunk, b""))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client left before its request was whole")
        return body

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _skip_body(self, place: int | float) -> int:
        """Read up to a cut; the number of bytes read."""
        count = cut_point(place, self._body_length())
        left = count
        while left and (piece := self.rfile.read(min(left, PIECE))):
            left -= len(piece)
        return count - left

    def _hold(self, route: Route, fault: Fault, place: int | float) -> None:
        """Read up to a cut, then wait until the client has left."""
        self._record(route, self._skip_body(place), fault)
        self.server.hub.holding.set()
        with contextlib.suppress(ConnectionError):
            while self.rfile.read(PIECE):
                pass
        self.server.hub.holding.clear()
        self.close_connection = True

    def _record(
        self,
        route: Route,
        received: int,
        fault: Fault | None,
        status: int | None = None,
        sent: int = 0,
    ) -> None:
        address = urlsplit(self.path)
        call = Call(
            method=self.command,
            route=route.template,
            path=address.path,
            query=address.query,
            byte_range=self.headers.get("Range"),
            received=received,
            status=status,
            sent=sent,
            fault=fault,
        )
        self.server.hub.calls.append(call)

    def _send(self, answer: Answer, count: int | None = None) -> None:
        """Write an answer, of its body only the first `count` bytes; the client may have left."""
        body = memoryview(answer.body)
        with contextlib.suppress(ConnectionError):
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Request-Id", uuid.uuid4().hex)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body[:count])
        if count is not None and count < len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: `LoopbackHub.calls` has every call."""


def _garbled(body: bytes, fault: Fault | None) -> bytes:
    """A request as it arrives."""
    if fault is None or fault.garbled is None:
        return body
    sent, arrived = fault.garbled
    if sent not in body:
        raise ValueError(f"{sent!r} is not in the request that was to be garbled")
    return body.replace(sent, arrived)


class _Server(ThreadingHTTPServer):
    """Accepts connections, and ends the open ones when the Hub closes."""

    daemon_threads = True

    def __init__(self, hub: LoopbackHub) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.hub = hub
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port and the connections that clients keep open."""
        super().server_close()
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that left; anything else is a crash of the Hub."""
        if not isinstance(sys.exception(), ConnectionError):
            self.hub.crashes.append(traceback.format_exc())
