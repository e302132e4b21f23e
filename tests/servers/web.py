"""A strangers' web server on a real socket, with ranges, redirects and configurable faults; also a webhook receiver."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """One received request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """The server's behaviour; a test changes the fields while it runs."""

    address: str = ""
    data: bytes = b""
    """The content of /file."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Path → redirect target."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next responses instead, one each."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers added to each response."""
    breaks: list[int] = field(default_factory=list)
    """Close the next connections for /file after this many bytes, one entry each."""
    ranges: bool = True
    tagged: bool = True
    length: bool = True
    """Whether to send the file's length."""
    pause_s: float = 0.0
    """Pause before each 16 KB, in seconds."""
    hang: threading.Event | None = None
    """Respond only after this is set."""
    answer: Callable[[Request], int] | None = None
    """The status of a POST."""
    seen: list[Request] = field(default_factory=list)


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _note(self) -> Request:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            web.seen.append(request)
            if web.hang is not None:
                web.hang.wait(60)
            return request

        def _head(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, **web.headers}.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()

        def do_POST(self) -> None:
            request = self._note()
            status = web.statuses.pop(0) if web.statuses else (web.answer(request) if web.answer else 204)
            self._head(status, Content_Length="0", **({"Location": "/other"} if 300 <= status < 400 else {}))

        def do_GET(self) -> None:
            self._note()
            if web.statuses:
                self._head(web.statuses.pop(0), Content_Length="0")
            elif (to := web.redirects.get(self.path)) is not None:
                self._head(302, Location=to, Content_Length="0")
            else:
                self._file()

        def _file(self) -> None:
            begin, status, told = 0, 200, dict[str, str]()
            wanted = self.headers.get("range")
            if web.ranges and wanted:
                begin, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
                told["Content_Range"] = f"bytes {begin}-{len(web.data) - 1}/{len(web.data)}"
            if web.tagged:
                told["ETag"] = '"v1"'
            if web.length:
                told["Content_Length"] = str(len(web.data) - begin)
            self._head(status, **told)
            end = begin + web.breaks.pop(0) if web.breaks else len(web.data)
            try:
                for at in range(begin, min(end, len(web.data)), 16_384):
                    time.sleep(web.pause_s)
                    self.wfile.write(web.data[at : min(at + 16_384, end)])
            except OSError:
                pass
            if end < len(web.data):
                self.close_connection = True

    return Handler


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0) -> Iterator[Web]:
    """A running server."""
    web = Web()
    server = ThreadingHTTPServer((host, port), _handler(web))
    server.daemon_threads = True
    web.address = f"http://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield web
    finally:
        if web.hang is not None:
            web.hang.set()
        server.shutdown()
        server.server_close()
        thread.join()
