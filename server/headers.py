"""Headers that every answer has, and those that let other origins read it."""

from urllib.parse import urlsplit, urlunsplit

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Where an answer does not have its own, as the page has (`server.ui`): nothing of it runs, is framed, guessed at, or
kept by a cache."""
SENT = ["*"]
READ = ["Content-Disposition", "Retry-After", "WWW-Authenticate"]
"""Headers that pages of ALLOWED_ORIGINS may send (whatever they ask for: clients send names and versions of their own,
OpenAI's x-stainless-* among them, and tracing adds traceparent) and read."""


class SafeHeaders:
    """Adds SAFE, and keeps redirects in this place. shared: whether pages of other origins may use what is answered."""

    def __init__(self, app: ASGIApp, shared: bool) -> None:
        self._app = app
        self._headers = {name: value for name, value in SAFE.items() if not (shared and name.startswith("Cross-"))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if "location" in headers:
                    headers["location"] = _here(headers["location"])
            await send(message)

        await self._app(scope, receive, sending)


def _here(location: str) -> str:
    """A redirect without the name of this service, which is whatever the client (or a proxy) called it. The framework
    redirects to the same path with or without its last slash, and nobody else does."""
    parts = urlsplit(location)
    return urlunsplit(("", "", "/" + parts.path.lstrip("/"), parts.query, ""))  # two slashes would begin a name


def add_headers(app: FastAPI, origins: set[str]) -> None:
    """origins: of ALLOWED_ORIGINS. To be added after the door, for it stands before it: its refusals have headers, and
    the question whether a page may call (which comes without a key) is answered."""
    app.add_middleware(SafeHeaders, shared=bool(origins))
    if origins:
        # Without credentials: a page sends its key itself, and there are no cookies.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=SENT,
            expose_headers=READ,
            max_age=600,
        )
