"""Watching of jobs: one query of the table serves any number of watchers."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator

from sqlalchemy import select

from jobs.change_signal import Notices
from jobs.job import Job
from jobs.schema import jobs
from jobs.store import JobStore
from pipeline.conversation.tasks import let_go

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Delay in seconds until changes by another process are noticed."""
TOGETHER = 500
"""Maximum number of jobs in one query."""


class Watching:
    """Watchers of jobs in this process. Notices signal this process's changes; those of other processes are found by
    querying the versions of all watched jobs."""

    def __init__(self, store: JobStore, notices: Notices) -> None:
        self._store, self._notices = store, notices
        self._watched: Counter[str] = Counter()
        self._versions: dict[str, int | None] = {}
        """Last known versions of watched jobs; None: the job no longer exists."""
        self._reading: dict[asyncio.Event, asyncio.Task[Job]] = {}
        self._ending = False
        self._begun = asyncio.Event()
        """Set while jobs are watched."""

    async def run(self) -> None:
        """Query the versions while jobs are watched, until cancelled."""
        while True:
            await self._begun.wait()
            try:
                await self._look()
            except Exception as error:  # the database is unavailable: watchers get the error when they read
                log.warning("watched jobs cannot be looked up: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        watched = list(self._watched)
        for start in range(0, len(watched), TOGETHER):
            ids = watched[start : start + TOGETHER]
            async with self._store.database.reading() as connection:
                rows = await connection.execute(select(jobs.c.id, jobs.c.version).where(jobs.c.id.in_(ids)))
            found = {row.id: row.version for row in rows}
            for one in ids:
                # A version that is not known is being read by its first watcher.
                if one in self._versions and self._versions[one] != found.get(one):
                    self._versions[one] = found.get(one)
                    self._notices.tell_here(one)

    async def watch(self, job_id: str, *, silent_s: float) -> AsyncGenerator[Job | None, None]:
        """Yield the job, and again after each change, until the job or the watching ends. Yield None after silent_s
        without a change. A slow reader misses intermediate changes. Raises JobNotFound, also when the job is removed.
        """
        self._watched[job_id] += 1
        self._begun.set()
        try:
            notice = self._notices.of(job_id)
            seen, told = -1, time.monotonic()
            while True:
                changed = notice.changed
                job = await self._read(job_id, changed)
                self._versions[job_id] = max(self._versions.get(job_id) or 0, job.version)
                if job.version != seen:
                    seen, told = job.version, time.monotonic()
                    yield job
                if job.final or self._ending:
                    return
                while not await notice.wait(changed, told + silent_s - time.monotonic()):
                    told = time.monotonic()
                    yield None
        finally:
            self._watched[job_id] -= 1
            if not self._watched[job_id]:
                del self._watched[job_id]
                self._versions.pop(job_id, None)
            if not self._watched:
                self._begun.clear()

    async def _read(self, job_id: str, changed: asyncio.Event) -> Job:
        """Return the current job. All watchers of the same change share one read."""
        reading = self._reading.get(changed)
        if reading is None:
            reading = self._reading[changed] = asyncio.create_task(self._store.get(job_id))
            reading.add_done_callback(lambda done: (self._reading.pop(changed, None), let_go(done)))
        return await asyncio.shield(reading)

    def stop(self) -> None:
        """End all watches."""
        self._ending = True
        for job_id in list(self._watched):
            self._notices.tell_here(job_id)
