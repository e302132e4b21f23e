"""Graceful shutdown: refuse new requests and finish those that have started."""

import asyncio
import logging

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.errors import Overloaded, ParleyError
from server.errors import error_response

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""Seconds until another instance, or this one after its restart, is likely to be available."""
CLOSE_CODE = 1012
""""Service Restart": clients reconnect."""
ASIDE = ("/health", "/metrics")
"""Monitoring paths: they are served until the end, and do not delay the shutdown."""
READING = ("GET", "HEAD", "OPTIONS", "DELETE")
"""Methods that do not start work."""


class Leaving(Overloaded):
    """The service is stopping; another instance, or this one after its restart, accepts new work."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("The service is restarting; reconnect in a moment.", retry_after_s=RETRY_S)


class Draining:
    """The state of the shutdown, and the number of requests that still run."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        """Set when the service stops accepting new work. Conversations wait for this, and end after their turn."""
        self.cut = asyncio.Event()
        """Set at the drain deadline or by a second signal, a moment before the remaining connections are closed."""
        self.running = 0
        """Number of requests and WebSockets being served."""
        self._finished = asyncio.Event()
        self._finished.set()

    async def finished(self) -> None:
        """Wait until no request is running."""
        await self._finished.wait()

    def came(self) -> None:
        """Count a request that starts."""
        self.running += 1
        self._finished.clear()

    def went(self) -> None:
        """Count a request that ends."""
        self.running -= 1
        if not self.running:
            self._finished.set()


class DrainingMiddleware:
    """Count running requests, and refuse new ones with 503 while the service stops."""

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith(ASIDE):
            await self._app(scope, receive, send)
            return
        if self._draining.begun.is_set() and (scope["type"] == "websocket" or scope["method"] not in READING):
            await refuse(Leaving(), scope, receive, send)
            return
        self._draining.came()
        try:
            await self._app(scope, receive, send)
        finally:
            self._draining.went()


class CutOffMiddleware:
    """End requests that are cut off at the drain deadline without an error, because uvicorn would log each with a
    traceback. Wraps all others: a request can be cut off while access control delays its refusal, too."""

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] == "lifespan" or not self._draining.begun.is_set():
                raise
            log.info("%s is cut off", scope["path"])


async def refuse(error: ParleyError, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an error whose reason soon passes, in the format of the API that the path belongs to."""
    refusal = error_response(HTTPConnection(scope), error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(refusal)
        return
    refusal.headers["Connection"] = "close"  # so that the client's next request can reach another instance
    await refusal(scope, receive, send)
