"""The tasks of one live conversation: each ends with it, and none fails unseen."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from pipeline.errors import ParleyError
from pipeline.workers.scheduler import Urgency, calling

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tasks:
    """Work beside the conversation; `close()` ends it."""

    def __init__(self, session: str) -> None:
        """session: names the conversation to the schedulers of the shared models."""
        self._session = session
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], urgency: Urgency = Urgency.NOW) -> asyncio.Task[T]:
        """Begin it, for this conversation."""
        with calling(session=self._session, urgency=urgency):
            return self.keep(asyncio.create_task(work))

    def keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """It was begun elsewhere, and ends with this conversation."""
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """End all, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            if not task.cancelling():  # a second cancel would break off the waiting of the first for its own tasks
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = let_go(task)
        if error is not None and not isinstance(error, ParleyError):
            log.error("a task of a conversation failed", exc_info=error)


def let_go(task: asyncio.Task[Any]) -> BaseException | None:
    """Why a task that is over has failed; None when it has not, or was cancelled.

    A cancelled task keeps its CancelledError until it is asked for it once. By its traceback that holds all frames of
    the task, what they worked on (sound) included, and mostly the object that keeps the task: a cycle, which only the
    collector ends, much later.
    """
    try:
        return task.exception()
    except asyncio.CancelledError:
        return None
