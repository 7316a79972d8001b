"""GitHub's answers about this checkout, for a process that asks GitHub itself.

`hf extensions install` has GitHub's addresses built in. To run it unchanged, tests give it a proxy
(`HTTPS_PROXY`) that answers instead of GitHub, with a certificate of a temporary authority (`SSL_CERT_FILE`).
The proxy passes all other connections on unread.
"""

import io
import os
import socket
import ssl
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import trustme

PAGES, RAW = "github.com", "raw.githubusercontent.com"
PIECE = 1 << 16


class GitHub:
    """A GitHub with one repository: the tracked files of a checkout, as they are now.

    Args:
        repo_id: what it is called there, OWNER/NAME.
        checkout: the root of a git work tree.
        folder: where the certificates go.
    """

    def __init__(self, repo_id: str, checkout: Path, folder: Path) -> None:
        self.repo_id, self.checkout = repo_id, checkout
        self.calls: list[tuple[str, str, int]] = []  # method, address, status
        self._authorities = folder / "authorities.pem"
        authority = trustme.CA()
        known = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile)
        self._authorities.write_bytes(known.read_bytes() + b"\n" + authority.cert_pem.bytes())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(PAGES, RAW).configure_cert(self.context)
        self._server = _Proxy(self)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a process use this as GitHub."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {"HTTPS_PROXY": address, "SSL_CERT_FILE": str(self._authorities)}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, host: str, path: str) -> tuple[int, bytes]:
        """Status and body: the page of the repository, its references, its archive or one of its files."""
        root = f"/{self.repo_id}"
        tracked = self._git("ls-files", "-z").decode().split("\0")[:-1]
        if host == RAW:
            name = path.removeprefix(f"{root}/HEAD/")
            return (200, (self.checkout / name).read_bytes()) if name in tracked else (404, b"")
        if path == root:
            return 200, b""
        if path == f"{root}.git/info/refs":
            return 200, self._git("upload-pack", "--advertise-refs", ".")
        if path == f"{root}/archive/HEAD.zip":
            return 200, self._archive(tracked)
        return 404, b""

    def _archive(self, tracked: list[str]) -> bytes:
        folder = f"{self.repo_id.split('/')[1]}-{self._git('rev-parse', 'HEAD').decode().strip()}"
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            for name in tracked:
                file.writestr(f"{folder}/{name}", (self.checkout / name).read_bytes())
        return archive.getvalue()

    def _git(self, *words: str) -> bytes:
        return subprocess.run(["git", *words], cwd=self.checkout, capture_output=True, check=True).stdout


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, github: GitHub) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.github = github


class _Connection(BaseHTTPRequestHandler):
    """One tunnel: ended here where it leads to GitHub, and passed on where it leads elsewhere."""

    protocol_version = "HTTP/1.1"
    server: _Proxy
    host = ""

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if host in (PAGES, RAW):
            self._agree()
            self.host = host
            self.connection = self.server.github.context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
            return
        try:
            other = socket.create_connection((host, int(port)))
        except OSError as error:
            self.send_error(502, str(error))
            return
        self._agree()
        self.close_connection = True
        with other:
            back = threading.Thread(target=_pass_on, args=(other, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, other)
            back.join()

    def _agree(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        github = self.server.github
        status, body = github.answer(self.host, urlsplit(self.path).path)
        github.calls.append((self.command, f"{self.host}{self.path}", status))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def finish(self) -> None:
        """Close what was agreed on, too: a wrapped socket is another one than that which was accepted."""
        super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `GitHub.calls` has it all."""


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Everything that comes, until nothing more does."""
    try:
        while data := source.recv(PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one of the two has left
        return
