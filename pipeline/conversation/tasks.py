"""The background tasks of one live conversation: they end with it, and their failures are logged."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

from pipeline.errors import ParleyError
from pipeline.workers.caller import Urgency, calling

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tasks:
    """Tasks in the background of a conversation; `close()` ends them."""

    def __init__(self, session: str) -> None:
        """session: identifies the conversation to the schedulers of the shared models."""
        self._session = session
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, T], urgency: Urgency = Urgency.NOW) -> asyncio.Task[T]:
        """Start a task for this conversation."""
        with calling(session=self._session, urgency=urgency):
            return self.keep(asyncio.create_task(work))

    def keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """End a task that was started elsewhere together with this conversation."""
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            if not task.cancelling():  # a second cancel would interrupt the task while it waits for its own tasks
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = let_go(task)
        if error is not None and not isinstance(error, ParleyError):
            log.error("a task of a conversation failed", exc_info=error)


def let_go(task: asyncio.Task[object]) -> BaseException | None:
    """Return the error of a finished task; None if it succeeded or was cancelled.

    A cancelled task keeps its CancelledError until that is retrieved once. The error's traceback holds all frames of
    the task, with the audio they worked on, and mostly the object that keeps the task: a reference cycle, which only
    the garbage collector breaks, much later.
    """
    try:
        return task.exception()
    except asyncio.CancelledError:
        return None
