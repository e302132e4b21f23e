"""What the HTTP and the WebSocket protocol share: the limit of a request's head, and of the time a client may not
read."""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from websockets.http11 import MAX_LINE_LENGTH

MAX_HEAD_BYTES = 2 * MAX_LINE_LENGTH
"""Of a request, before its body; one line of it may be half as long (see `commands.serve`)."""
MAX_HEADERS = 128
"""Headers of one request, as the `websockets` package has it; each costs some 200 bytes however short it is."""


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
