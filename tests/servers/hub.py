"""A model hub on a real socket: listing, ranges of files, a storage host behind a redirect, and configurable faults."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    range: str
    """The Range header, "" if absent."""
    token: str
    """The bearer token, "" if absent."""


@dataclass
class Hub:
    """The hub's models and behaviour; a test changes the fields while it runs."""

    repos: dict[str, Path] = field(default_factory=dict)
    """owner/name → the folder with its files."""
    address: str = ""
    storage: str = ""
    """The same server under another host name, to which requests for big files are redirected."""
    status: int = 0
    """Status to send for every request, with `error_code`."""
    error_code: str = ""
    needs_token: str = ""
    breaks: list[int] = field(default_factory=list)
    """One entry per connection for a big file: close after this many bytes."""
    corrupt: bool = False
    pause_s: float = 0.0
    """Pause before each 64 KB of a big file, in seconds."""
    hang: threading.Event | None = None
    """Respond only after this is set."""
    seen: list[Seen] = field(default_factory=list)
    sent_bytes: int = 0
    """Number of requests for big files."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            hub.seen.append(Seen(self.command, path, self.headers.get("Range", ""), token))
            if hub.hang:
                hub.hang.wait(30)
            if path.startswith("/storage/"):
                self._big(Path(path.removeprefix("/storage")))
            elif hub.status:
                self._answer(hub.status, {"X-Error-Code": hub.error_code})
            elif hub.needs_token and token != hub.needs_token:
                self._answer(401, {"X-Error-Code": "GatedRepo"})
            elif path.startswith("/api/models/"):
                self._listing(path.removeprefix("/api/models/"))
            else:
                repo, _, rest = path[1:].partition("/resolve/")
                revision, _, name = rest.partition("/")
                file = hub.repos.get(repo, Path("/absent")) / name
                if repo not in hub.repos or revision not in ("main", COMMIT):
                    self._answer(404 if hub.needs_token else 401, {"X-Error-Code": "RepoNotFound"})
                elif not file.is_file():
                    self._answer(404, {"X-Error-Code": "EntryNotFound"})
                elif name.endswith(".bin"):
                    self._answer(302, {"Location": f"{hub.storage}/storage{file}", "X-Linked-Size": str(_size(file))})
                else:
                    self._answer(200, {"X-Repo-Commit": COMMIT}, file.read_bytes())

        def _listing(self, repo: str) -> None:
            if repo not in hub.repos:
                return self._answer(401, {"X-Error-Code": "RepoNotFound"})
            siblings = []
            for file in sorted(hub.repos[repo].iterdir()):
                entry: dict[str, object] = {"rfilename": file.name, "size": _size(file), "blobId": "0" * 40}
                if file.suffix == ".bin":
                    entry["lfs"] = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "size": _size(file)}
                siblings.append(entry)
            body = json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
            self._answer(200, {"Content-Type": "application/json"}, body)

        def _big(self, file: Path) -> None:
            data = file.read_bytes()
            start = 0
            wanted = self.headers.get("Range")
            if wanted:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    return self._answer(416, {})
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            stop = start + hub.breaks.pop(0) if hub.breaks else len(data)
            if hub.corrupt:
                data = bytes(len(data))
            for at in range(start, min(stop, len(data)), 65_536):
                time.sleep(hub.pause_s)
                piece = data[at : min(at + 65_536, stop)]
                try:
                    self.wfile.write(piece)
                    self.wfile.flush()
                except OSError:
                    break
                hub.sent_bytes += len(piece)
            self.close_connection = True

        def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub on a free port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        if hub.hang:
            hub.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _size(file: Path) -> int:
    return file.stat().st_size
