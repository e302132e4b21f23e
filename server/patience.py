"""How long a connection may keep us waiting, for the headers of a request and for reading what it was sent; and how
long those headers may be.

uvicorn bounds none of them (it only closes connections that are idle between requests), so its protocols are extended
here. Bodies are bounded by `server.access.bodies`, conversations by their idle time-outs.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import MAX_LINE_LENGTH

from pipeline.settings import Settings
from server.draining import CLOSE_CODE, Leaving

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
MAX_HEAD_BYTES = 2 * MAX_LINE_LENGTH
"""Of a request, before its body; one line of it may be half as long (see `commands.serve`)."""


def refuse_head(transport: asyncio.Transport, line: int) -> None:
    """Answer a request whose head is too long, and close. line: bytes of its first line."""
    status = 414 if line > MAX_LINE_LENGTH else 431
    transport.write(STATUS_LINE[status] + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    transport.close()


class Stall:
    """Ends a connection whose client does not read: it would hold its answer, and whatever makes it, for ever."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Nothing more can be written for the moment."""
        self.end()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, transport.abort)

    def end(self) -> None:
        """It reads again, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PatientHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds."""

    settings: Settings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stall = Stall(self.settings.stall_timeout_s)
        self._header_timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._in_head, self._head_bytes = False, 0
        """Whether a request has begun whose headers are not complete, and what has come of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.write(BUSY)
            transport.close()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        self._stall.end()
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells only the request that came last; one before it would write to what is closed.
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._idle:
            self._expect_headers()  # of the next request: they have begun to come
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._headers_came()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()
        if answered is not None and answered.more_body and self._idle and not self.transport.is_closing():
            self._expect_headers()  # what is left of a body that nobody wanted must come to its end, too

    def handle_websocket_upgrade(self) -> None:
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
        """The service ends: who is still being answered sees by the end of the connection that it was not all."""
        if not self._idle:
            self.transport.abort()

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered."""
        upgraded = self.transport.get_protocol() is not self
        return not upgraded and (self.cycle is None or self.cycle.response_complete)

    def _expect_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.settings.header_timeout_s, self._too_late)

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse_head(self) -> None:
        if self._idle:
            refuse_head(self.transport, len(self.url))
        else:  # another answer is on its way
            self.transport.abort()

    def _too_late(self) -> None:
        self._header_timer = None
        if self._idle and not self.transport.is_closing():
            self.transport.abort()


class PatientSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with bounds."""

    settings: Settings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stall = Stall(self.settings.stall_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            refuse_head(self.transport, len(data.partition(b"\r\n")[0]))  # uvicorn never answers these

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:  # closed as uvicorn closes it, which writes a traceback for each besides
                self.frames = []
                if not self.close_sent and self.conn.close_rcvd is None:
                    self.conn.send_close(1007)
                    self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def shutdown(self) -> None:
        """The service ends, and whoever is still connected is told so; uvicorn gives no reason."""
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CLOSE_CODE})
            self.conn.send_close(CLOSE_CODE, Leaving().message)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        super().shutdown()

    def cut(self) -> None:
        """It has not taken its close: nothing more is waited for."""
        self.transport.abort()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused, which is no error: uvicorn would log one for each

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall.end()


def bounded(settings: Settings) -> dict[str, Any]:
    """Arguments of uvicorn.Config that bound connections and messages."""
    return {
        "http": type("Http", (PatientHttp,), {"settings": settings}),
        "ws": type("Socket", (PatientSocket,), {"settings": settings}),
        "ws_max_size": settings.max_message_bytes,
        # A client whose network is gone says nothing; without a pong its conversation ends.
        "ws_ping_interval": settings.ws_ping_s or None,
        "ws_ping_timeout": settings.ws_ping_s or None,
        # A kilobyte of a compressed message can be a megabyte; sound hardly gets smaller, so nobody misses it.
        "ws_per_message_deflate": False,
        "forwarded_allow_ips": settings.forwarded_allow_ips,
    }
