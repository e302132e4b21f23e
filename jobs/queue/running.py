"""The jobs that this process is running, shared by all queues."""

import asyncio
import logging

from jobs.job import Job
from jobs.run import Runner
from pipeline.errors import StorageError

log = logging.getLogger(__name__)


class Running:
    """Runs each job in its own task, which can be cancelled without stopping the job worker."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._tasks: dict[str, asyncio.Task[float | None]] = {}

    async def run(self, job: Job) -> float | None:
        """Run a claimed job. Return the seconds until it is due again, or None if it is not."""
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
            log.warning("job %s was left unchanged: %s", job.id, error.message)
            return None
        if error is not None:
            log.error("job %s was left unchanged: the database failed", job.id, exc_info=error)
            return None
        return task.result()

    def cancel(self, job_id: str) -> None:
        """Stop a job if this process runs it."""
        if (task := self._tasks.get(job_id)) is not None:
            task.cancel()
