"""A queue that runs jobs in tasks of this process, directly from the table, so that a restart loses nothing."""

import asyncio
import contextlib
import fcntl
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from jobs.change_signal import Notice
from jobs.job import Job
from jobs.queue.running import Running
from jobs.run import SILENT_S, Runner
from jobs.store import JobStore
from pipeline.errors import StorageError
from pipeline.support.file_lock import locked, open_lock
from pipeline.support.storage_errors import storing
from pipeline.workers.sharing import joined

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Maximum delay in seconds until jobs queued by another process are found."""
TAKE_OVER_S = 1.0
"""Seconds between a waiting service's checks whether the active one is gone."""
FAILED_S = 5.0
"""Wait after a database failure, in seconds."""


class LocalQueue:
    """A limited number of tasks that run jobs, with the table as their queue."""

    def __init__(self, store: JobStore, runner: Runner, *, workers: int, lock: Path) -> None:
        """lock: file whose holder runs the jobs. A second service on the same folder only accepts jobs, and takes over
        the queue when the first one ends, however it ends."""
        self._store = store
        self._running = Running(runner)
        self._workers = workers
        self._lock = lock
        self._added = Notice()
        self._file: IO[bytes] | None = None
        """The lock file, until this service stops."""
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        with storing("UPLOAD_DIR"):
            file = self._file = await asyncio.to_thread(open_lock, self._lock)
        try:
            with storing("UPLOAD_DIR"):
                first = bool(self._workers) and locked(file)
            if self._workers and not first and joined() is None:
                log.warning("another service runs the jobs of this folder; this one only accepts jobs until "
                            "that one ends")  # fmt: skip
            if first:
                await self._recover()
            async with asyncio.TaskGroup() as group:
                if first:
                    self._begin(group)
                elif self._workers:
                    self._tasks = [group.create_task(self._take_over(file, group))]
                try:
                    yield
                finally:
                    await self.stop()
        finally:
            file.close()

    async def _recover(self) -> None:
        """Queue running jobs again: only this service runs jobs, so their job workers are gone."""
        for job in await self._store.recover():
            log.info("job %s was interrupted and is queued again", job.id)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        self._tasks += [group.create_task(self._work()) for _ in range(self._workers)]
        self._tasks.append(group.create_task(self._work(background=True)))
        self._tasks.append(group.create_task(self._sweep()))

    async def _take_over(self, file: IO[bytes], group: asyncio.TaskGroup) -> None:
        """Poll for the lock, which the kernel releases without notice when its process ends, even by SIGKILL."""
        held = told = False
        while True:
            with contextlib.suppress(OSError):  # such as a network drive that does not answer now
                held = held or locked(file)
            if held and not told:
                told = True
                log.warning("the service that ran the jobs of this folder is gone; this one takes over")
            if held:
                with contextlib.suppress(StorageError):  # already logged
                    await self._recover()
                    break
            await asyncio.sleep(TAKE_OVER_S)
        self._begin(group)

    async def added(self, jobs: list[Job]) -> None:
        self._added.tell()

    def added_elsewhere(self) -> None:
        self._added.tell()

    async def cancelled(self, job: Job) -> None:
        self._running.cancel(job.id)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._file is not None:  # lets a waiting service take over before this process ends
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file = None

    async def _work(self, *, background: bool = False) -> None:
        """Run jobs, one after the other. background: those for which no user waits; they have this task to
        themselves."""
        while True:
            changed = self._added.changed
            try:
                job = await self._store.claim(background=background)
                if job is not None:
                    await self._running.run(job)
                    continue
                due = await self._store.next_due(background=background)
            except StorageError:  # already logged
                due = time.time() + FAILED_S
            except Exception:
                log.exception("the table of jobs cannot be read; retrying in %g s", FAILED_S)
                due = time.time() + FAILED_S
            wait_s = LOOK_S if due is None else min(LOOK_S, max(0.01, due - time.time()))
            await self._added.wait(changed, wait_s)

    async def _sweep(self) -> None:
        """Queue jobs again that a job worker could not update when it stopped."""
        while True:
            await asyncio.sleep(SILENT_S / 2)
            try:
                if await self._store.recover(silent_s=SILENT_S):
                    self._added.tell()
            except StorageError:
                continue
            except Exception as error:
                log.warning("the search for lost jobs failed: %s", type(error).__name__)
