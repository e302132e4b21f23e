"""Cancel work and streams when their client disconnects."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Generic, Self, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.errors import ParleyError
from pipeline.support.background import background

T = TypeVar("T")


class ClientGone(ParleyError):
    """The client is gone; drop the response."""

    code = "client_gone"


async def while_connected(request: Request, work: Coroutine[object, object, T]) -> T:
    """Return the result of the work. Cancel it and raise ClientGone if the client closes its connection.

    The request's body must have been read.
    """
    async with background(work) as working, background(_gone(request)) as watching:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("The client disconnected.")
        return working.result()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Begun(Generic[T]):
    """The items of a generator whose first item has already been read."""

    def __init__(self, items: AsyncGenerator[T, None], first: list[T]) -> None:
        self._items, self._first = items, first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return self._first.pop() if self._first else await anext(self._items)

    async def aclose(self) -> None:
        await self._items.aclose()


async def begun(items: AsyncGenerator[T, None]) -> Begun[T]:
    """Wait for the first item: an error before it is raised here, while an error status can still be sent."""
    try:
        return Begun(items, [await anext(items)])
    except StopAsyncIteration:
        return Begun(items, [])
    except BaseException:
        await items.aclose()
        raise


class Stream(StreamingResponse):
    """A response from a generator that is always closed, at the latest after the response."""

    def __init__(self, pieces: Begun[bytes], media_type: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._pieces.aclose()
