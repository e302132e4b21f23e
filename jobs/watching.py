"""Watching jobs: one look at the table for all who watch, however many they are."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator

from sqlalchemy import select

from jobs.notice import Notices
from jobs.schema import Job, jobs
from jobs.store import JobStore
from pipeline.tasks import let_go

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""What another process does with a job is seen after this."""
TOGETHER = 500
"""Jobs looked up in one query."""


class Watching:
    """Those who watch jobs of this process. What happens in this process they are told by notices; what another one
    does is seen by one look at the versions of all watched jobs."""

    def __init__(self, store: JobStore, notices: Notices) -> None:
        self._store, self._notices = store, notices
        self._watched: Counter[str] = Counter()
        self._versions: dict[str, int | None] = {}
        """Of watched jobs, as last seen; None: it is gone."""
        self._reading: dict[asyncio.Event, asyncio.Task[Job]] = {}
        self._ending = False
        self._begun = asyncio.Event()
        """Somebody watches."""

    async def run(self) -> None:
        """Look, for as long as somebody watches; until cancelled."""
        while True:
            await self._begun.wait()
            try:
                await self._look()
            except Exception as error:  # the database is away: those who watch see so when they read
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
                if one in self._watched and self._versions.get(one, -1) != found.get(one):
                    self._versions[one] = found.get(one)
                    self._notices.tell(one)

    async def watch(self, job_id: str, *, silent_s: float) -> AsyncGenerator[Job | None, None]:
        """The job, and again whenever it has changed, until it has ended or watching has; None when nothing was to be
        told for so long. A slow reader misses what lies between. Raises JobNotFound, also when it is removed."""
        self._watched[job_id] += 1
        self._begun.set()
        try:
            notice = self._notices.of(job_id)
            seen, told = -1, time.monotonic()
            while True:
                changed = notice.changed
                job = await self._read(job_id, changed)
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
        """The job as it is now. All who wait for the same change read it once."""
        reading = self._reading.get(changed)
        if reading is None:
            reading = self._reading[changed] = asyncio.create_task(self._store.get(job_id))
            reading.add_done_callback(lambda done: (self._reading.pop(changed, None), let_go(done)))
        return await asyncio.shield(reading)

    def stop(self) -> None:
        """Let all go who watch."""
        self._ending = True
        for job_id in list(self._watched):
            self._notices.tell(job_id)
