"""Idle timeout of WebSockets."""

import asyncio
from collections.abc import Callable

from starlette.types import Message
from starlette.websockets import WebSocket


async def next_message(socket: WebSocket, idle_s: float, busy: Callable[[], bool]) -> Message:
    """Return the next message. Close the connection and return a disconnect if no message arrives for `idle_s` (0: no
    limit) while the connection is not busy."""
    receiving = asyncio.create_task(socket.receive())
    try:
        while not (await asyncio.wait([receiving], timeout=idle_s or None))[0]:
            if not busy():
                await socket.close(1000, "The connection was idle for too long.")
                return {"type": "websocket.disconnect"}
        return receiving.result()
    finally:
        receiving.cancel()
