"""Idle timeout of connections."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from pipeline.errors import ParleyError
from pipeline.support.background import background

T = TypeVar("T")


class Idle(ParleyError):
    """The client has sent nothing for too long."""

    code = "idle_timeout"

    def __init__(self) -> None:
        super().__init__("The connection was idle for too long.")


async def unless_idle(receive: Coroutine[object, object, T], idle_s: float, busy: Callable[[], bool]) -> T:
    """Return the client's next message. Raises Idle if none comes for `idle_s` (0: no limit) while the connection is
    not busy."""
    if not idle_s:
        return await receive
    async with background(receive) as receiving:
        while not (await asyncio.wait([receiving], timeout=idle_s))[0]:
            if not busy():
                raise Idle
        return receiving.result()
