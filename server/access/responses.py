"""Large responses: their bytes count in the caller's share of the memory until the client has read them."""

from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

from pipeline.errors import Overloaded
from server.access.limits import HELD, RETRY_S, Share
from server.access.work_pace import paced

CHUNK_BYTES = 1 << 18
"""Bytes that are passed to the connection at a time. It buffers what the client has not read, and accepts the next
chunk when that is little."""

Refuse = Callable[[Overloaded, Scope, Receive, Send], Awaitable[None]]


class Counted:
    """`send` of one request. It passes a large body on in chunks, at the pace of the client, and a body that is still
    made at that of its caller's work (`work_pace`)."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, refuse: Refuse) -> None:
        """scope: must contain the connection's share of the memory. refuse: sends an error in place of a response for
        which there is no room."""
        self._scope, self._receive, self._send, self._refuse = scope, receive, send, refuse
        self._held: Share = scope[HELD]
        self._start: Message | None = None
        """The head of a large response, which is sent with its body."""
        self._refused = False

    async def __call__(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start" and _length(message) > CHUNK_BYTES:
            self._start = message
            return
        body: bytes = message.get("body", b"")
        start, self._start = self._start, None
        counted = len(body) if start is not None and len(body) > CHUNK_BYTES else 0
        if counted and not self._held.take(counted):
            self._refused = True
            error = Overloaded("Too many bytes wait for you to read them; retry soon.", retry_after_s=RETRY_S)
            await self._refuse(error, self._scope, self._receive, self._send)
            return
        try:
            if start is not None:
                await self._send(start)
            if len(body) <= CHUNK_BYTES:
                await self._send(message)
                if message.get("more_body", False):
                    await paced()
                return
            for at in range(0, len(body), CHUNK_BYTES):
                more = at + CHUNK_BYTES < len(body) or message.get("more_body", False)
                await self._send({**message, "body": body[at : at + CHUNK_BYTES], "more_body": more})
        finally:
            self._held.give_back(counted)


def _length(start: Message) -> int:
    """Return the Content-Length that a response declares, or 0."""
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length":
            return int(value)
    return 0
