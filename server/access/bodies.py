"""Limits on request bodies: the size that a route accepts, and a minimum speed."""

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from pipeline.errors import BadInput
from server.access.limits import HELD, RETRY_S, Share
from server.access.rules import Rule

BODY_TIMEOUT_S = 30.0
"""Longest total wait for the sender of a body, in seconds, in addition to the time that the received bytes take at
SLOWEST_BYTES_PER_S: a client that stops sending must not keep its slot."""
SLOWEST_BYTES_PER_S = 16 * 1024
"""Minimum speed of a body after BODY_TIMEOUT_S. It is half the speed of the slowest lines in use (256 kbit/s), so a
slower sender holds back on purpose. At this speed the largest permitted file holds its slot for at most nine hours."""

CHUNKS = "parley.body_chunks"
"""Key in an ASGI scope under which the HTTP server counts the parts of the body that it has parsed."""
CHUNK_BYTES = 256
"""Bytes as which each of them counts at least in its caller's pace: parsing one takes about a microsecond of the event
loop, however short it is."""


class Bounded:
    """`receive` of one request, with limits. Raises HTTPException (413, 408, 503) in the code that reads the body."""

    def __init__(self, scope: Scope, receive: Receive, rule: Rule) -> None:
        """scope: must contain the connection's share of the memory."""
        self._scope, self._receive = scope, receive
        self._most = None if rule.files else rule.most
        self._waited_s = 0.0
        self._size = 0
        self._done = False
        self._held: Share = scope[HELD]
        self.claimed = _claimed(scope)

    def check_claim(self) -> None:
        """Raises HTTPException (413) if Content-Length is too large, before the body is read."""
        if self._most is not None and self.claimed > self._most:
            raise HTTPException(413, f"The request is larger than {self._most} bytes.")

    async def __call__(self) -> Message:
        if self._done:  # the caller now waits for the client to disconnect
            return await self._receive()
        begun = time.monotonic()
        allowed_s = BODY_TIMEOUT_S + self._size / SLOWEST_BYTES_PER_S - self._waited_s
        try:
            async with asyncio.timeout(max(allowed_s, 0.0)):
                message = await self._receive()
        except TimeoutError:
            self._done = True
            raise HTTPException(408, "The request came too slowly.", {"Connection": "close"}) from None
        self._waited_s += time.monotonic() - begun
        size = len(message.get("body", b""))
        self._size += size
        await self._held.uploaded(max(size, CHUNK_BYTES * self._scope.pop(CHUNKS, 0)))
        self._done = message["type"] != "http.request" or not message.get("more_body", False)
        if self._most is None:
            return message  # a file: its route counts the bytes that stay in memory
        if self._size > self._most:
            raise HTTPException(413, f"The request is larger than {self._most} bytes.", {"Connection": "close"})
        if not self._held.take(size):
            raise HTTPException(503, "Too many bytes are held; retry soon.", {"Retry-After": f"{RETRY_S:g}"})
        return message


def check_encoding(scope: Scope) -> None:
    """Raises BadInput (unsupported_encoding) for a compressed body: a kilobyte could expand to a megabyte, and the
    service does not decompress bodies."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return
    sent = b",".join(value for name, value in scope["headers"] if name == b"content-encoding").decode("latin-1")
    if any(one.strip().lower() not in ("", "identity") for one in sent.split(",")):
        raise BadInput(
            f"The body is compressed (Content-Encoding: {sent[:40]}); send it uncompressed.",
            code="unsupported_encoding",
        )


def _claimed(scope: Scope) -> int:
    """Return Content-Length, or 0 if it is missing or invalid."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0
