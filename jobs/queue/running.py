"""The jobs that this process works on now; the same under every queue."""

import asyncio
import logging

from jobs.run import Runner
from jobs.schema import Job
from pipeline.errors import StorageError

log = logging.getLogger(__name__)


class Running:
    """Each job in a task of its own: it is cancelled with the job, and the worker goes on."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._tasks: dict[str, asyncio.Task[float | None]] = {}

    async def run(self, job: Job) -> float | None:
        """Work on a job that was claimed. Returns after how many seconds it is due again; None: it is not."""
        task = asyncio.create_task(self._runner.run(job))
        self._tasks[job.id] = task
        try:
            await asyncio.wait([task])
        finally:
            self._tasks.pop(job.id, None)
            task.cancel()
            await asyncio.wait([task])
        if task.cancelled():
            return None
        if isinstance(error := task.exception(), StorageError):
            log.warning("job %s was left as it is: %s", job.id, error.message)
            return None
        if error is not None:
            log.error("job %s was left as it is: the database failed", job.id, exc_info=error)
            return None
        return task.result()

    def cancel(self, job_id: str) -> None:
        """Stop working on it, if this process does."""
        if (task := self._tasks.get(job_id)) is not None:
            task.cancel()
