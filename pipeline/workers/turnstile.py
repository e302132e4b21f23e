"""One call at a time into a worker, first come first served, and never more than so many waiting."""

import asyncio

from pipeline.errors import Overloaded


class Turnstile:
    """A lock with a bounded queue before it. Who has passed may hand the duty to `leave` to another task."""

    def __init__(self, name: str, max_waiting: int) -> None:
        self._name = name
        self._max_waiting = max_waiting
        self._lock = asyncio.Lock()
        self.waiting = 0
        """Calls that wait now."""

    async def enter(self) -> None:
        """Wait for the worker. Raises Overloaded at once when the queue is full."""
        if self._lock.locked() and self.waiting >= self._max_waiting:
            raise Overloaded(f"Too many wait for {self._name}; try again in a moment.")
        self.waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """Let the next one in."""
        self._lock.release()
