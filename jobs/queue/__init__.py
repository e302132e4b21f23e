"""The Protocol of job queues. The table of jobs is authoritative; a queue only signals when to read it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from jobs.job import Job


class Queue(Protocol):
    """A queue, which runs jobs within the block of `open()`."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Recover the jobs of an earlier process, and run jobs until the end of the block."""
        ...

    async def added(self, jobs: list[Job]) -> None:
        """Start work on jobs that were just queued."""
        ...

    def added_elsewhere(self) -> None:
        """Start work on jobs that another process of this machine has queued."""
        ...

    async def cancelled(self, job: Job) -> None:
        """Stop working on a cancelled job."""
        ...

    async def stop(self) -> None:
        """Stop running jobs. Running jobs are released, for another process or the next start."""
        ...
