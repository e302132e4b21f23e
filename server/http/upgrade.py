"""Plain HTTP requests to the paths of WebSockets: the error 426 upgrade_required."""

from collections.abc import Iterable

from fastapi import FastAPI

from pipeline.errors import BadInput


class UpgradeRequired(BadInput):
    """The path is a WebSocket."""

    code = "upgrade_required"

    def __init__(self) -> None:
        super().__init__("This endpoint is a WebSocket: open it with a WebSocket client (Upgrade: websocket).")


def add_upgrade_errors(app: FastAPI, paths: Iterable[str]) -> None:
    """Respond with UpgradeRequired to a GET or HEAD of these paths that asks for no WebSocket."""
    for path in paths:
        app.add_api_route(path, _plain_request, methods=["GET", "HEAD"], include_in_schema=False)


async def _plain_request() -> None:
    raise UpgradeRequired
