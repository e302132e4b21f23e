"""Who does the jobs: the Protocol of queues. The table of jobs is the truth; a queue says when to look into it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from jobs.schema import Job


class Queue(Protocol):
    """A queue, open between `open()` and the end of its block."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Take up what an earlier process left, and work until the end of the block."""
        ...

    async def added(self, jobs: list[Job]) -> None:
        """These were queued a moment ago."""
        ...

    async def cancelled(self, job: Job) -> None:
        """This one is cancelled: stop its worker."""
        ...

    async def stop(self) -> None:
        """Work no more: what is being done is given back, and done by another process or after the next start."""
        ...
