"""A bounded, closable channel between tasks: an asyncio.Queue with an end."""

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """Carry items in order from one or more senders to one receiver; at most `size` wait.

    After `close()`, `async for item in channel` ends once all items are received; after `close(error)` it raises that
    error instead. For tasks of one event loop.
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
        """Wait for room, then add the item. After `close()` the item is dropped, because it would not be received.

        leave: keep this much room free for senders that cannot wait.
        """
        while not self._closed and len(self._items) >= self._size - leave:
            self._writable.clear()
            await self._writable.wait()
        self.offer(item)

    def offer(self, item: T) -> bool:
        """Add the item if there is room now. Returns False if there is not. After `close()`, drop the item and
        return True."""
        if self._closed:
            return True
        if len(self._items) >= self._size:
            return False
        self._items.append(item)
        self._readable.set()
        return True

    def close(self, error: BaseException | None = None) -> None:
        """End the channel; a second call has no effect."""
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
