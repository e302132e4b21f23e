"""Automatic cleaning: jobs that expired before they were begun, jobs that ended long ago, and their data."""

import asyncio
import logging
import time

from sqlalchemy import delete, exists, select, update

from jobs import schema
from jobs.database import Database
from jobs.files import FileStore
from jobs.job import Job
from jobs.removal import remove
from jobs.schema import jobs
from jobs.states import FINAL, Status
from jobs.transitions import move
from pipeline.errors import StorageError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

EVERY_S = 600.0
BATCH = 500
"""Maximum number of jobs removed in one transaction, so that other writes can happen in between."""
UNUSED_HOURS = 1.0
"""Hours for which a result without a job is kept where jobs are kept for ever: its user has deleted it."""
KEY_HOURS = 24.0
"""Hours for which an Idempotency-Key is remembered."""


class Janitor:
    """Cleans the tables and files of one deployment."""

    def __init__(self, database: Database, files: FileStore, settings: Settings) -> None:
        self._database = database
        self._files = files
        self._settings = settings

    async def run(self) -> None:
        """Clean every EVERY_S until cancelled."""
        while True:
            try:
                await self.sweep()
            except StorageError as error:
                log.warning("cleaning up failed: %s", error.message)
            except Exception:
                log.exception("cleaning up failed; retrying in %g s", EVERY_S)
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> list[Job]:
        """Clean once. Return the jobs that have expired."""
        try:
            expired = await self._expire()
            removed = await self._remove_old()
            await self._forget_keys()
            await self._remove_results()
            await self._remove_waveforms()
            await self._remove_recordings()
        finally:
            await self.remove_files()  # even after an error: frees space on a full disk
        if expired or removed:
            log.info("%d jobs expired, %d were removed", len(expired), removed)
        return expired

    async def _expire(self) -> list[Job]:
        hours = self._settings.job_keep_hours
        if not hours:
            return []
        late = jobs.c.created_at <= time.time() - hours * 3600
        async with self._database.writing() as connection:
            return await move(
                connection, self._database, Status.EXPIRED, late, jobs.c.due_at <= time.time() - hours * 3600,
                within=frozenset({Status.QUEUED}), webhook_url=self._settings.webhook_url, error_code="expired",
                error_message=f"No job worker began this job within {hours:g} hours (JOB_KEEP_HOURS).",
            )  # fmt: skip

    async def _remove_old(self) -> int:
        hours = self._settings.job_keep_hours
        if not hours:
            return 0
        before, removed = time.time() - hours * 3600, 0
        ended = [status.value for status in FINAL]
        old = (
            select(jobs.c.id)
            .where(jobs.c.status.in_(ended), jobs.c.finished_at <= before, jobs.c.pinned_at.is_(None))
            .limit(BATCH)
        )
        while True:
            async with self._database.writing() as connection:
                ids = list((await connection.scalars(old)).all())
                removed += await remove(connection, self._database, ids) if ids else 0
            if len(ids) < BATCH:
                return removed

    async def _forget_keys(self) -> None:
        table = schema.idempotency
        async with self._database.writing() as connection:
            await connection.execute(delete(table).where(table.c.created_at <= time.time() - KEY_HOURS * 3600))

    async def _remove_results(self) -> None:
        hours, table = self._settings.job_keep_hours or UNUSED_HOURS, schema.results
        used = exists().where(jobs.c.result_key == table.c.key)
        async with self._database.writing() as connection:
            await connection.execute(delete(table).where(table.c.used_at <= time.time() - hours * 3600, ~used))

    async def _remove_waveforms(self) -> None:
        table = schema.waveforms
        used = exists().where(jobs.c.sha256 == table.c.sha256)
        async with self._database.writing() as connection:
            await connection.execute(delete(table).where(~used))

    async def _remove_recordings(self) -> None:
        """Let go of the recordings of jobs that ended long ago; `remove_files` removes them unless another job uses
        them."""
        hours = self._settings.delete_audio_after
        if not hours:
            return
        ended = [status.value for status in FINAL]
        late = (jobs.c.finished_at <= time.time() - hours * 3600, jobs.c.pinned_at.is_(None))
        gone = {"sha256": None, "size_bytes": None, "version": jobs.c.version + 1, "updated_at": time.time()}
        async with self._database.writing() as connection:
            await connection.execute(
                update(jobs).where(jobs.c.status.in_(ended), jobs.c.sha256.is_not(None), *late).values(gone)
            )

    async def remove_files(self) -> None:
        """Remove files that no job uses. Also called after a user has deleted a job."""
        async with self._database.reading() as connection:
            used = (await connection.scalars(select(jobs.c.sha256).where(jobs.c.sha256.is_not(None)).distinct())).all()
        await asyncio.to_thread(self._files.unused, [name for name in used if name is not None])
