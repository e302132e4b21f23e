"""Adds transcripts from before the search to its index, beside the running service, the newest first.

Each batch is one transaction, which also moves the mark below which jobs are still to be added. So a restart goes on
where the last process ended, and transcripts that are completed or edited meanwhile are indexed as always.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.schema import documents, jobs, passages, results, search_backlog
from jobs.states import Status
from jobs.transcript_library.passages import Passage, add_older_passages, passages_of
from pipeline.errors import StorageError
from pipeline.support.file_lock import locked, open_lock

log = logging.getLogger(__name__)

BATCH_JOBS, BATCH_PASSAGES = 100, 200
"""Jobs that one transaction looks at, and passages that it adds, about: others write in between."""
REST = 1.0
"""Rest after a batch, as a multiple of the time that the batch took: the service has users."""
LOOK_S = 30.0
"""Time after which a process looks whether it should go on with the work of another one, in seconds."""
FAILED_S = 10.0
"""Wait after a failure, in seconds."""
TELL_S = 10.0
"""Minimum interval of the progress in the log, in seconds."""
_Transcript = tuple[str, str, int | None, Sequence[Passage]]
"""Id and owner of a job, version of its document, and its passages."""


async def indexed(connection: AsyncConnection) -> float | None:
    """Return the part of the older transcripts that is in the index, from 0 to 1; None: all."""
    row = (await connection.execute(select(search_backlog.c.done, search_backlog.c.total))).first()
    return None if row is None else min(0.99, row.done / max(1, row.total))


class Backlog:
    """The transcripts of one deployment that are still to be added."""

    def __init__(self, database: Database, lock: Path) -> None:
        """lock: a file whose holder does the work, of several processes."""
        self._database = database
        self._lock = lock
        self._told_at = 0.0

    async def run(self) -> None:
        """Add transcripts until all are in the index, here or in another process."""
        with ExitStack() as stack:
            file: IO[bytes] | None = None
            held = False
            while True:
                began = time.monotonic()
                try:
                    if not await self._there():
                        return
                    if file is None:
                        file = stack.enter_context(await asyncio.to_thread(open_lock, self._lock))
                    held = held or locked(file)
                    if held and not await self.step():
                        return
                    wait_s = REST * (time.monotonic() - began) if held else LOOK_S
                except StorageError:  # already logged
                    wait_s = FAILED_S
                except Exception:
                    log.exception("transcripts cannot be added to the search; retrying in %g s", FAILED_S)
                    wait_s = FAILED_S
                await asyncio.sleep(wait_s)

    async def _there(self) -> bool:
        async with self._database.reading() as connection:
            return await connection.scalar(select(search_backlog.c.id)) is not None

    async def step(self) -> bool:
        """Add the next batch; return whether there may be more."""
        async with self._database.reading() as connection:
            mark = (await connection.execute(select(search_backlog))).first()
            if mark is None:
                return False
            indexed_already = select(passages.c.id).where(passages.c.job_id == jobs.c.id).exists()
            wanted = (
                select(jobs.c.id, jobs.c.owner, jobs.c.result_key, indexed_already.label("there"))
                .where(jobs.c.status == Status.COMPLETED, jobs.c.id < mark.below)
                .order_by(jobs.c.id.desc())
                .limit(BATCH_JOBS)
            )
            older = (await connection.execute(wanted)).all()
        if not older:
            await self._finish(mark.total)
            return False
        found, seen, size = list[_Transcript](), 0, 0
        for job in older:
            seen += 1
            if job.there or job.result_key is None:
                continue
            found.append(await self._read(job.id, job.owner, job.result_key))
            size += len(found[-1][3])
            if size >= BATCH_PASSAGES:
                break
        await self._add(mark.below, older[seen - 1].id, seen, found)
        if time.monotonic() - self._told_at >= TELL_S:
            self._told_at = time.monotonic()
            log.info("%d of %d older transcripts are in the search", mark.done + seen, mark.total)
        return True

    async def _read(self, job_id: str, owner: str, result_key: str) -> _Transcript:
        async with self._database.reading() as connection:
            edited = (
                await connection.execute(
                    select(documents.c.version, documents.c.body).where(documents.c.job_id == job_id)
                )
            ).first()
            body = edited.body if edited else None
            if body is None:
                body = await connection.scalar(select(results.c.body).where(results.c.key == result_key))
        made = await asyncio.to_thread(passages_of, body) if body else []
        return job_id, owner, edited.version if edited else None, made

    async def _add(self, mark: str, new_mark: str, seen: int, found: Sequence[_Transcript]) -> None:
        """Add transcripts and move the mark, unless another process has moved it."""
        ids = [job_id for job_id, *_ in found]
        async with self._database.writing() as connection:
            moved = await connection.execute(
                update(search_backlog)
                .where(search_backlog.c.below == mark)
                .values(below=new_mark, done=search_backlog.c.done + seen)
            )
            if not moved.rowcount or not found:
                return
            # An edit changes its job first, so on PostgreSQL it has committed now, or waits for this.
            still = set(await connection.scalars(select(jobs.c.id).where(jobs.c.id.in_(ids)).with_for_update()))
            still -= set(await connection.scalars(select(passages.c.job_id).where(passages.c.job_id.in_(ids))))
            edits = select(documents.c.job_id, documents.c.version).where(documents.c.job_id.in_(ids))
            versions = {row.job_id: row.version for row in await connection.execute(edits)}
            # A transcript that was deleted or edited meanwhile is left out: its edit has indexed it.
            same = [one for one in found if one[0] in still and one[2] == versions.get(one[0])]
            await add_older_passages(connection, [(job_id, owner, made) for job_id, owner, _, made in same])

    async def _finish(self, total: int) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(search_backlog))
        log.info("all %d older transcripts are in the search", total)
