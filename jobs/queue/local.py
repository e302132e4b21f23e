"""Jobs done by tasks of this process, straight from the table: nothing is in memory that a restart would lose."""

import asyncio
import contextlib
import fcntl
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from jobs.notice import Notice
from jobs.queue.running import Running
from jobs.run import SILENT_S, Runner
from jobs.schema import Job
from jobs.store import JobStore
from pipeline.errors import StorageError
from pipeline.private import opener
from pipeline.storing import storing

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Jobs that another process has queued are seen at the latest after this."""
TAKE_OVER_S = 1.0
"""A service that waits behind another one looks this often whether that one is gone."""
FAILED_S = 5.0
"""After the database did not answer, a worker waits so long."""


class LocalQueue:
    """A bounded number of workers, and the table as their queue."""

    def __init__(self, store: JobStore, runner: Runner, *, workers: int, lock: Path) -> None:
        """lock: the service that holds it does the jobs. A second one on the same folder takes jobs in, and takes the
        queue over when the first one ends, however that ends."""
        self._store = store
        self._running = Running(runner)
        self._workers = workers
        self._lock = lock
        self._added = Notice()
        self._file: IO[bytes] | None = None
        """The lock, while this service may hold it."""
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        with storing("UPLOAD_DIR"):
            file = self._file = await asyncio.to_thread(_opened, self._lock)
        try:
            first = bool(self._workers) and _locked(file)
            if self._workers and not first:
                log.warning("another service works on the jobs of this folder; this one only takes jobs in, "
                            "until that one ends")  # fmt: skip
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
        """Nobody else works, so whatever is running has lost its worker."""
        for job in await self._store.recover():
            log.info("job %s is taken up again", job.id)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        self._tasks += [group.create_task(self._work()) for _ in range(self._workers)]
        self._tasks.append(group.create_task(self._sweep()))

    async def _take_over(self, file: IO[bytes], group: asyncio.TaskGroup) -> None:
        """The kernel frees the lock when its process ends, also by SIGKILL; it tells nobody."""
        held = False
        while True:
            if not held and (held := _locked(file)):
                log.warning("the service that worked on the jobs of this folder is gone; this one takes over")
            if held:
                with contextlib.suppress(StorageError):  # logged where it was found
                    await self._recover()
                    break
            await asyncio.sleep(TAKE_OVER_S)
        self._begin(group)

    async def added(self, jobs: list[Job]) -> None:
        self._added.tell()

    async def cancelled(self, job: Job) -> None:
        self._running.cancel(job.id)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._file is not None:  # a service that waits may take over at once, before this process has ended
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file = None

    async def _work(self) -> None:
        while True:
            changed = self._added.changed
            try:
                job = await self._store.claim()
                if job is not None:
                    await self._running.run(job)
                    continue
                due = await self._store.next_due()
            except StorageError:  # logged where it was found
                due = time.time() + FAILED_S
            except Exception:
                log.exception("the table of jobs cannot be read; looking again in %g s", FAILED_S)
                due = time.time() + FAILED_S
            wait_s = LOOK_S if due is None else min(LOOK_S, max(0.01, due - time.time()))
            await self._added.wait(changed, wait_s)

    async def _sweep(self) -> None:
        """Queue again what a worker had to leave as it was."""
        while True:
            await asyncio.sleep(SILENT_S / 2)
            try:
                if await self._store.recover(silent_s=SILENT_S):
                    self._added.tell()
            except StorageError:
                continue
            except Exception as error:
                log.warning("lost jobs cannot be looked for: %s", type(error).__name__)


def _opened(lock: Path) -> IO[bytes]:
    return open(lock, "ab", opener=opener)


def _locked(file: IO[bytes]) -> bool:
    """Whether this process holds the lock, which ends with it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
