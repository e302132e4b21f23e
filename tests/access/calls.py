"""Requests as the access check sees them, and a list of every route."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, WebSocketRoute

from pipeline.settings import Settings
from server.app import create_app

SECRET = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Route:
    """One entry point of the application. `method`: an HTTP method, or WEBSOCKET."""

    method: str
    path: str

    @property
    def example(self) -> str:
        """A path that matches this route."""
        return re.sub(r"{[^}]*}", "x", self.path)


def routes(app: FastAPI) -> list[Route]:
    """All entry points of an application, including those that no OpenAPI document lists."""
    return sorted(set(_routes(app)), key=lambda route: (route.path, route.method))


def _routes(app: FastAPI) -> Iterator[Route]:
    for context in iter_route_contexts(app.routes):
        route: Any = context.original_route
        path: Any = context.path if hasattr(context, "path") else route.path
        if isinstance(route, Mount):
            yield Route("GET", f"{path}/anything")
        elif isinstance(route, WebSocketRoute):
            yield Route("WEBSOCKET", path)
        else:
            yield from (Route(method, path) for method in context.methods or route.methods)


def every_route() -> list[Route]:
    return routes(create_app(Settings()))


def scope(route: Route, headers: dict[str, str] | None = None, client: str = "203.0.113.7") -> dict[str, Any]:
    """An ASGI scope as a server makes it. client: the client's address."""
    socket = route.method == "WEBSOCKET"
    sent = {"host": "127.0.0.1"} | {name.lower(): value for name, value in (headers or {}).items()}
    protocols = [one.strip() for one in sent.get("sec-websocket-protocol", "").split(",") if one.strip()]
    return {
        "type": "websocket" if socket else "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws" if socket else "http",
        "path": route.example,
        "raw_path": route.example.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        **(
            {"subprotocols": protocols, "extensions": {"websocket.http.response": {}}}
            if socket
            else {"method": route.method}
        ),
    }


@dataclass(slots=True)
class Answer:
    """The response that was sent before any of the request's body was read."""

    status: int
    headers: dict[str, str]
    body: bytes


class WouldRead(Exception):
    """The application asks for the body, or has accepted a socket: the access check has let the caller in."""


async def call(app: Any, asked: dict[str, Any]) -> Answer:
    """Return the response to one request or handshake. Raises WouldRead when the caller is let in."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if asked["type"] == "http":
            raise WouldRead
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            raise WouldRead
        sent.append(message)

    await app(asked, receive, send)
    start = next(message for message in sent if message["type"].endswith("response.start"))
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in sent if message["type"].endswith("response.body"))
    return Answer(start["status"], headers, content)
