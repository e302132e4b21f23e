"""A bounded, closable channel between tasks: what an asyncio.Queue with an end would be."""

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """Items from one or more senders to one receiver, in order, at most `size` waiting.

    `async for item in channel` ends after `close()` once everything sent was received; after `close(error)` it raises
    that error there instead. For tasks of one event loop.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self._size = size
        self._items: deque[T] = deque()
        self._closed = False
        self._error: BaseException | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    async def send(self, item: T, *, leave: int = 0) -> None:
        """Wait for room, then add. After `close()` the item is dropped: nobody will look at it.

        leave: wait for that much more room, and leave it to others, who cannot wait.
        """
        while not self._closed and len(self._items) >= self._size - leave:
            self._writable.clear()
            await self._writable.wait()
        self.offer(item)

    def offer(self, item: T) -> bool:
        """Add if there is room now; whether it was taken care of. After `close()` the item is dropped."""
        if self._closed:
            return True
        if len(self._items) >= self._size:
            return False
        self._items.append(item)
        self._readable.set()
        return True

    def close(self, error: BaseException | None = None) -> None:
        """No more items; a second call changes nothing."""
        if not self._closed:
            self._closed, self._error = True, error
            self._readable.set()
            self._writable.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        item = self._items.popleft()
        self._writable.set()
        return item
