"""Send JSON on a WebSocket."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket

from pipeline.support.encodable import encodable


async def send_json(socket: WebSocket, message: Mapping[str, Any]) -> None:
    """Send one object like starlette's own method, but accept any text in it, such as lone surrogates. Raises the
    errors of `socket.send_text`."""
    await socket.send_text(encodable(json.dumps(message, separators=(",", ":"), ensure_ascii=False)))
