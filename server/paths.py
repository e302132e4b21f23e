"""Paths as clients write them, before anybody looks at one."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile(r"/{2,}")
_RAW_SLASHES = re.compile(rb"(?:/|%2[Ff]){2,}")


class OneSlash:
    """Several slashes in a row are one: old clients put their own slash behind an address that ends with one (Bazarr's
    `//asr`). Stands before access control, which therefore asks for the rights of the path that is served."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and "//" in scope["path"]:
            scope = {**scope, "path": _SLASHES.sub("/", scope["path"])}
            if scope.get("raw_path"):
                scope["raw_path"] = _RAW_SLASHES.sub(b"/", scope["raw_path"])
        await self._app(scope, receive, send)
