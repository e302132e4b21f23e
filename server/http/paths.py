"""Normalisation of request paths before routing."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile(r"/{2,}")
_RAW_SLASHES = re.compile(rb"(?:/|%2[Ff]){2,}")


class OneSlash:
    """Collapse repeated slashes: old clients append a slash to a base URL that already ends with one (Bazarr's
    `//asr`). Runs before access control, which therefore checks the permissions of the path that is served."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and "//" in scope["path"]:
            scope = {**scope, "path": _SLASHES.sub("/", scope["path"])}
            if scope.get("raw_path"):
                scope["raw_path"] = _RAW_SLASHES.sub(b"/", scope["raw_path"])
        await self._app(scope, receive, send)
