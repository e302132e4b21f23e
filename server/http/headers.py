"""Security headers of every response, and CORS headers for other origins."""

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
"""Defaults for responses that do not set these headers (`server.pages.ui` sets them for the page): browsers must not
run, frame, sniff or cache such a response."""
SENT = ["*"]
READ = ["Content-Disposition", "Location", "Parley-Ignored", "Retry-After", "WWW-Authenticate"]
"""Headers that pages of ALLOWED_ORIGINS can send (all: clients add their own names and versions, such as OpenAI's
x-stainless-*, and tracing adds traceparent) and read."""


class SafeHeaders:
    """Add the headers in SAFE, and keep redirects on this host. shared: whether pages of other origins can use the
    responses."""

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
    """Remove the host from a redirect: it comes from the client or a proxy, so it is not trusted. The
    framework redirects to the same path with or without its last slash, the share target to the page."""
    parts = urlsplit(location)
    path = "/" + parts.path.lstrip("/")  # two slashes would start a host name
    return urlunsplit(("", "", path, parts.query, parts.fragment))


def add_headers(app: FastAPI, origins: set[str]) -> None:
    """Add the security and CORS headers. origins: those of ALLOWED_ORIGINS.

    Call this after adding access control, so that it wraps it: then refusals have these headers, too, and CORS
    preflights, which carry no key, are answered.
    """
    app.add_middleware(SafeHeaders, shared=bool(origins))
    if origins:
        # Without credentials: pages send their key in a header, and the service uses no cookies.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=SENT,
            expose_headers=READ,
            max_age=600,
        )
