"""A queue for any number of processes on several machines, with messages by procrastinate through PostgreSQL.

The table of jobs stays authoritative: a message only says "look at this job", and its receiver claims the job in the
table. So a duplicate message has no effect, and the next sweep repeats a lost one. The heartbeat of a job reveals when
its process has ended.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Status as MessageStatus
from procrastinate.types import TimeDeltaParams
from sqlalchemy import text

from jobs.database import MIGRATION_LOCK, address
from jobs.job import Job
from jobs.queue.running import Running
from jobs.run import SILENT_S, Runner
from jobs.store import JobStore
from pipeline.errors import StorageError

log = logging.getLogger(__name__)

QUEUE, BACKGROUND = "transcriptions", "background"
"""Queues of jobs that users wait for, and of others. The others run one at a time, beside them."""
SWEEP_S = 10.0
SWEPT = 500
"""Maximum number of messages that one sweep repeats."""
STOP_S = 0.1
"""Grace period for the jobs of a stopping job worker, in seconds; they are released."""
LOST = text(
    "SELECT id, background FROM jobs WHERE status = 'queued' AND due_at <= extract(epoch FROM now()) - :waiting_s "
    "AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = jobs.id AND status = 'todo') "
    "ORDER BY id LIMIT :most"
)
"""Selects due jobs without a message."""


class ProcrastinateQueue:
    """Sends messages about jobs, and runs jobs itself unless `workers` is 0."""

    def __init__(self, store: JobStore, runner: Runner, *, database_url: str, workers: int) -> None:
        self._store = store
        self._running = Running(runner)
        self._workers = workers
        self._tasks: list[asyncio.Task[None]] = []
        plain = address(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        connector = procrastinate.PsycopgConnector(conninfo=plain, min_size=1, max_size=6)
        self._app = procrastinate.App(connector=connector, worker_defaults={"install_signal_handlers": False})
        self._look = self._app.task(name="transcribe", queue=QUEUE)(self._do)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self._make_tables()
        async with self._app.open_async(), asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self._sweep())]
            if self._workers:
                self._tasks.append(group.create_task(self._serve(QUEUE, self._workers)))
                self._tasks.append(group.create_task(self._serve(BACKGROUND, 1)))
            try:
                yield
            finally:
                await self.stop()

    async def _make_tables(self) -> None:
        """Create procrastinate's tables if they are missing."""
        async with self._store.database.writing() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK + 1})
            if await connection.scalar(text("SELECT to_regclass('procrastinate_jobs')")) is None:
                async with self._app.open_async():
                    await self._app.schema_manager.apply_schema_async()

    async def added(self, jobs: list[Job]) -> None:
        for job in jobs:
            await self._tell(job.id, background=job.background)

    def added_elsewhere(self) -> None:
        """Nothing: procrastinate tells all processes."""

    async def _tell(self, job_id: str, in_s: float = 0.0, *, background: bool) -> None:
        when: TimeDeltaParams | None = {"seconds": max(1, round(in_s))} if in_s else None
        message = self._look.configure(
            queue=BACKGROUND if background else QUEUE, queueing_lock=job_id, schedule_in=when
        )
        try:
            await message.defer_async(job_id=job_id)
        except AlreadyEnqueued:
            pass
        except Exception as error:  # the job is in the table, and a later sweep sends the message
            log.warning("the message for job %s cannot be sent now: %s", job_id, type(error).__name__)

    async def cancelled(self, job: Job) -> None:
        # On other machines the job's heartbeat notices it within half a second.
        self._running.cancel(job.id)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _do(self, job_id: str) -> None:
        job = await self._store.claim(job_id)
        if job is None:
            return  # cancelled, run by another process, or not due
        due_in_s = await self._running.run(job)
        if due_in_s is not None:
            await self._tell(job_id, due_in_s, background=job.background)

    async def _serve(self, queue: str, workers: int) -> None:
        while True:
            try:
                await self._app.run_worker_async(
                    queues=[queue],
                    concurrency=workers,
                    delete_jobs="always",
                    shutdown_graceful_timeout=STOP_S,
                    install_signal_handlers=False,
                )
            except Exception:
                log.exception("the job worker lost its database; it restarts in %g s", SWEEP_S / 5)
            await asyncio.sleep(SWEEP_S / 5)

    async def _sweep(self) -> None:
        """Recover jobs whose job worker was lost, and repeat lost messages."""
        while True:
            try:
                for job in await self._store.recover(silent_s=SILENT_S):
                    log.info("job %s was interrupted and is queued again", job.id)
                async with self._store.database.reading() as connection:
                    lost = (await connection.execute(LOST, {"waiting_s": SWEEP_S / 2, "most": SWEPT})).all()
                for row in lost:
                    await self._tell(row.id, background=bool(row.background))
                for message in await self._app.job_manager.get_stalled_jobs():
                    await self._app.job_manager.finish_job(message, MessageStatus.FAILED, delete_job=True)
            except StorageError:
                pass  # already logged
            except Exception as error:
                log.warning("the search for lost jobs failed: %s", type(error).__name__)
            await asyncio.sleep(SWEEP_S)
