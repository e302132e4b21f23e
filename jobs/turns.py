"""Limits on long work that threads do for one caller: a few at a time, and one of each owner."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

from pipeline.errors import Overloaded

MAX_OF_ONE = 150
"""Number of one owner that work and wait; more than there are downloads of one caller."""
RETRY_S = 5.0
T = TypeVar("T")


class Turns:
    """Turns at some work, in the order of arrival. The owner "", which is everyone without a key, may have all of
    them."""

    def __init__(self, most: int, what: str, *, most_of_one: int = MAX_OF_ONE) -> None:
        """most: turns at a time. what: in the text of a refusal ("edits"). most_of_one: of one owner, with those that
        wait."""
        self._most_of_one = most_of_one
        self._what = what
        self._all = asyncio.Semaphore(most)
        self._most = most
        self._own: dict[str, asyncio.Semaphore] = {}
        self._there: Counter[str] = Counter()
        self._working: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def one(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn of this owner and hold it for the block. Raises Overloaded."""
        if self._there[owner] >= self._most_of_one:
            raise Overloaded(f"Too many {self._what} of yours wait; retry soon.", retry_after_s=RETRY_S)
        self._there[owner] += 1
        own = self._own.setdefault(owner, asyncio.Semaphore(1 if owner else self._most))
        try:
            async with own, self._all:
                yield
        finally:
            self._there[owner] -= 1
            if not self._there[owner]:
                del self._there[owner], self._own[owner]

    async def run(self, owner: str, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Do the work in a turn of this owner, and hold the turn until it ends: work that has begun goes on when the
        caller is cancelled, because a thread cannot be stopped. Raises Overloaded."""
        begun = False

        async def turn() -> T:
            nonlocal begun
            async with self.one(owner):
                begun = True
                return await work()

        task = asyncio.create_task(turn())
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not begun:
                task.cancel()
            raise
