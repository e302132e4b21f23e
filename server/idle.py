"""WebSockets on which nobody says anything for a long time."""

import asyncio
from collections.abc import Callable

from starlette.types import Message
from starlette.websockets import WebSocket


async def next_message(socket: WebSocket, idle_s: float, busy: Callable[[], bool]) -> Message:
    """The next message; when none came for `idle_s` (0: for ever) while nothing was going on, the connection is closed
    and this is a disconnect."""
    receiving = asyncio.create_task(socket.receive())
    try:
        while not (await asyncio.wait([receiving], timeout=idle_s or None))[0]:
            if not busy():
                await socket.close(1000, "Nobody spoke for a long time.")
                return {"type": "websocket.disconnect"}
        return receiving.result()
    finally:
        receiving.cancel()
