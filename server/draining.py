"""The end of a service that is asked to stop: nobody new comes in, and what has begun is finished."""

import asyncio
import logging

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.errors import Overloaded
from server.errors import answer

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""When another service, or this one again, is likely to be there."""
CLOSE_CODE = 1012
""""Service Restart", which clients answer by connecting again."""
ASIDE = ("/health", "/metrics")
"""Whoever watches the service is served to the end, and not waited for."""
READING = ("GET", "HEAD", "OPTIONS", "DELETE")
"""Methods that begin no work."""


class Leaving(Overloaded):
    """The service is stopping; another one, or this one in a moment, takes new work."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("The service is being restarted; connect again in a moment.", retry_after_s=RETRY_S)


class Draining:
    """Whether the service is stopping, and how much of what it does has still to be finished."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        """Set when nothing new is taken any more. A conversation that waits for this ends itself when its turn is over.
        """
        self.cut = asyncio.Event()
        """Set when what has not ended yet will not be waited for any longer: a moment before connections are closed."""
        self.running = 0
        """Requests and WebSockets that are served now."""
        self._finished = asyncio.Event()
        self._finished.set()

    async def finished(self) -> None:
        """Wait until nothing is served any more."""
        await self._finished.wait()

    def came(self) -> None:
        """Somebody is served from now on."""
        self.running += 1
        self._finished.clear()

    def went(self) -> None:
        """And is served no more."""
        self.running -= 1
        if not self.running:
            self._finished.set()


class DrainingMiddleware:
    """Counts who is served, refuses with 503 who comes while the service is stopping, and lets go who is cut off then:
    that is no error of anybody's, for which uvicorn would write a traceback."""

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith(ASIDE):
            await self._app(scope, receive, send)
            return
        if self._draining.begun.is_set():
            refusal = answer(HTTPConnection(scope), Leaving())
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(refusal)
                return
            if scope["method"] not in READING:
                refusal.headers["Connection"] = "close"  # so that its next request finds another service
                await refusal(scope, receive, send)
                return
        self._draining.came()
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._draining.begun.is_set():
                raise
            log.info("%s is cut off", scope["path"])
        finally:
            self._draining.went()
