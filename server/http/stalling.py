"""Limits shared by the HTTP and WebSocket protocols: size of a request's head, and time a client does not read."""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from websockets.http11 import MAX_LINE_LENGTH

MAX_HEAD_BYTES = 2 * MAX_LINE_LENGTH
"""Longest head of a request; one line of it can be half as long (see `commands.serve`)."""
STALL_TIMEOUT_S = 60.0
"""A client that does not read what is sent to it for this long is disconnected, in seconds: longer than a lost mobile
network usually takes to return."""
MAX_HEADERS = 128
"""Maximum number of headers of a request, as in the `websockets` package; even a short one costs about 200 bytes."""


def refuse_head(transport: asyncio.Transport, line: int) -> None:
    """Refuse a request whose head is too long, and close the connection. line: bytes of its first line."""
    status = 414 if line > MAX_LINE_LENGTH else 431
    transport.write(STATUS_LINE[status] + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
    transport.close()


class Stall:
    """Abort a connection whose client does not read: it would hold its response, and the work behind it, forever."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Start the timeout, because the connection cannot be written to."""
        self.end()
        self._timer = asyncio.get_running_loop().call_later(STALL_TIMEOUT_S, transport.abort)

    def end(self) -> None:
        """Stop the timeout, because the client reads again or has disconnected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
