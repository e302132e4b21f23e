"""A bounded, closable channel between tasks: what an asyncio.Queue with an end would be."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """Items from one or more senders to one receiver, in order, at most `size` waiting.

    `async for item in channel` ends after `close()` once everything sent was received; after `close(error)` it raises
    that error there instead. Used by tasks of one event loop.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self._size = size
        self._items: deque[T] = deque()
        self._closed = False
        self._error: BaseException | None = None
        self._changed = asyncio.Condition()

    async def send(self, item: T) -> None:
        """Wait for room, then add. After `close()` the item is dropped: nobody will look at it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()

    async def close(self, error: BaseException | None = None) -> None:
        """No more items; a second call changes nothing."""
        async with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._changed.notify_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items) or self._closed)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
