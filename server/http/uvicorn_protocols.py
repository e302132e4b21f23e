"""Limits of HTTP connections: time for the headers of a request and for reading the response, size of the headers, and
number of pipelined requests.

uvicorn has none of these limits (it only closes connections that are idle between requests), so this module extends its
protocols. `server.access.bodies` limits bodies, and idle timeouts limit conversations.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pipeline.settings import Settings
from server.access.bodies import CHUNKS
from server.http.stalling import MAX_HEAD_BYTES, MAX_HEADERS, Stall, refuse_head
from server.http.websocket_protocol import BoundedWebSocket

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PING_S = 20.0
"""Interval between WebSocket pings, and timeout for the pong, in seconds; reverse proxies close connections that are
silent for a minute."""
HEADER_TIMEOUT_S = 10.0
"""Timeout for a request's headers on a new connection, in seconds; a client sends them at once."""
MAX_AHEAD = 8
"""Pipelined requests of one connection that can wait behind the running one; further ones are not read."""
MAX_AHEAD_BYTES = 1 << 16
"""Limit of their bytes together. One more request can exceed it, because its head can be longer."""
PIECE_BYTES = 1 << 16
"""Bytes parsed at a time outside of heads."""
END_OF_HEAD = b"\r\n\r\n"
BODY_STEP_BYTES = 256
"""Least bytes parsed at a time of a body of unknown length: it might consist of END_OF_HEAD only."""


MAX_UNREAD_CHUNKS = 4096
"""Chunks of a body that are discarded after its response; a client whose request was refused sends few more."""


class TooManyHeaders(Exception):
    """A request has more than MAX_HEADERS headers; raised within the parser."""


class Flow(FlowControl):
    """Resume reading only while the pipeline has room; uvicorn resumes after each response and for each body."""

    full = False

    def resume_reading(self) -> None:
        if not self.full:
            super().resume_reading()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits."""

    settings: Settings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stall = Stall()
        self._header_timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._in_head, self._head_bytes = False, 0
        """Whether the headers of a request are incomplete, and the bytes of them received so far."""
        self._unparsed = bytearray()
        """Received bytes that wait until the pipeline has room."""
        self._ahead: deque[int] = deque()
        """Bytes of each head in the pipeline, in its order."""
        self._in_body, self._body_left = False, 0
        """Whether a request's body is being received, and its remaining bytes if Content-Length gives its size."""
        self._unread_chunks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.write(BUSY)
            transport.close()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        self._stall.end()
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn notifies only the latest request; an earlier one would write to a closed connection.
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        self._unparsed.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Parse request by request while the pipeline has room: one network read can contain thousands."""
        while self._unparsed and not self._full:
            size = self._piece_bytes()
            piece = bytes(self._unparsed[:size])
            del self._unparsed[:size]
            super().data_received(piece)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                self._unparsed.clear()
                return
            if self._idle:
                self._expect_headers()  # of the next request, which has started to arrive
            if self._in_head:
                self._head_bytes += len(piece)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse_head()
                    return
        self._flow.full = self._full
        if self._full:
            self._flow.pause_reading()

    def _piece_bytes(self) -> int:
        """Return the number of bytes to parse next, at most to the end of the current request if that is visible."""
        if self._body_left:
            return min(self._body_left, PIECE_BYTES)
        end = self._unparsed.find(END_OF_HEAD, BODY_STEP_BYTES if self._in_body else 0, PIECE_BYTES)
        return PIECE_BYTES if end < 0 else end + len(END_OF_HEAD)

    @property
    def _flow(self) -> Flow:
        assert isinstance(self.flow, Flow)  # noqa: S101  # set in connection_made
        return self.flow

    @property
    def _full(self) -> bool:
        """Whether the pipeline behind the running request has no room."""
        if not self.pipeline:
            return False
        return len(self.pipeline) >= MAX_AHEAD or sum(self._ahead) + len(self.cycle.body) > MAX_AHEAD_BYTES

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._in_body, self._body_left = False, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise TooManyHeaders
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        # The parser rejects a Content-Length that is not a 64-bit number or that comes with chunked encoding.
        said = next((value for name, value in self.headers if name == b"content-length"), b"")
        self._body_left = int(said.strip().lstrip(b"0") or b"0")
        self._headers_came()
        waiting = len(self.pipeline)
        super().on_headers_complete()
        if len(self.pipeline) > waiting:
            self._ahead.append(len(self.url) + sum(len(name) + len(value) for name, value in self.headers))

    def on_body(self, body: bytes) -> None:
        self._body_left = max(0, self._body_left - len(body))
        if self.cycle.response_complete:
            self._unread_chunks += 1
            if self._unread_chunks > MAX_UNREAD_CHUNKS:
                self.transport.abort()
            return
        scope: dict[str, Any] = self.cycle.scope  # type: ignore[assignment]
        scope[CHUNKS] = scope.get(CHUNKS, 0) + 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._body_left = False, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._in_head and len(self.headers) >= MAX_HEADERS:
            self._refuse_head()
        elif self._answering is not None and self._answering.response_started and not self._idle:
            self.transport.abort()  # the 400 would appear in the middle of another response
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        answered, waiting = self.cycle, len(self.pipeline)
        self._flow.full = False
        super().on_response_complete()
        if len(self.pipeline) < waiting:
            self._ahead.popleft()
        if answered is not None and answered.more_body and self._idle and not self.transport.is_closing():
            self._expect_headers()  # the rest of an unread body must also arrive within the timeout
        if not self.transport.is_closing():
            self._parse()

    def handle_websocket_upgrade(self) -> None:
        if not self._idle:  # the running response would be written between the messages, and its work would never end
            self.transport.abort()
            return
        self._headers_came()
        self._stall.end()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.end()

    def cut(self) -> None:
        """Abort the connection during a response, at the drain deadline: the client sees that it is incomplete."""
        if not self._idle:
            self.transport.abort()

    @property
    def _idle(self) -> bool:
        """Whether no request is running."""
        upgraded = self.transport.get_protocol() is not self
        return not upgraded and (self.cycle is None or self.cycle.response_complete)

    def _expect_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._too_late)

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse_head(self) -> None:
        if self._idle:
            refuse_head(self.transport, len(self.url))
        else:  # another response is being sent
            self.transport.abort()

    def _too_late(self) -> None:
        self._header_timer = None
        if self._idle and not self.transport.is_closing():
            self.transport.abort()


def bounded(settings: Settings) -> dict[str, Any]:
    """Return arguments of uvicorn.Config that limit connections and messages."""
    return {
        "http": type("Http", (BoundedHttp,), {"settings": settings}),
        "ws": type("Socket", (BoundedWebSocket,), {"settings": settings}),
        "ws_max_size": settings.max_message_bytes,
        # A client that has lost its network sends nothing; its conversation ends without a pong.
        "ws_ping_interval": PING_S,
        "ws_ping_timeout": PING_S,
        # No compression: a kilobyte can decompress to a megabyte, and audio hardly gets smaller.
        "ws_per_message_deflate": False,
        "forwarded_allow_ips": settings.forwarded_allow_ips,
    }
