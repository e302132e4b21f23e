"""Keep context managers open, each entered and left in its own task."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class ContextHolder(Generic[T]):
    """Hold one context open in its own task, from `open()` until `close()`.

    For contexts that are opened in one place and closed in another: asyncio's timeouts and task groups inside them must
    be entered and left by the same task.
    """

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context
        self._stop = asyncio.Event()
        self._opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep())

    @property
    def failed(self) -> bool:
        """Whether entering the context raised an error."""
        return self._opened.done() and (self._opened.cancelled() or self._opened.exception() is not None)

    @property
    def value(self) -> T | None:
        """The context's value once it is entered."""
        return self._opened.result() if self._opened.done() and not self.failed else None

    async def open(self) -> T:
        """Wait until the context is entered and return its value. Raises the error of entering it."""
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        """Leave the context and wait until that is done; cancels entering it if that is not done."""
        self._stop.set()
        if not self._opened.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            log.warning("a context that was held open has failed: %s: %s", type(error).__name__, error)

    async def _keep(self) -> None:
        try:
            async with self._context as value:
                self._opened.set_result(value)
                await self._stop.wait()
        except asyncio.CancelledError:
            self._opened.cancel()
            raise
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)
            self._opened.exception()  # not lost: `open` raises it


@asynccontextmanager
async def open_together(*contexts: AbstractAsyncContextManager[T]) -> AsyncIterator[list[T]]:
    """Enter all contexts concurrently; when one fails, the others are left and its error is raised."""
    holders = [ContextHolder(context) for context in contexts]
    try:
        yield await asyncio.gather(*(holder.open() for holder in holders))
    finally:
        await asyncio.gather(*(holder.close() for holder in holders))
