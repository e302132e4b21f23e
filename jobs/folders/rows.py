"""Files of watched folders that have a job, in the database, so that each is transcribed once, also after a restart."""

import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.folders.looking import Stamp
from jobs.folders.results import Written
from jobs.job import Job
from jobs.schema import jobs, watched_files
from jobs.states import FINAL, Status
from pipeline.support.encodable import encodable

DUE_AT_ONCE = 20
REFUSED, GONE = "refused", "gone"
"""States of files, besides those of their jobs: not accepted as a recording; their job was deleted."""
Recorder = Callable[[AsyncConnection, Sequence[Job]], Awaitable[None]]


class Known(Exception):  # not an error: the file has a job
    """Another process has begun this file."""


@dataclass(frozen=True, slots=True)
class Due:
    """A file whose job has ended, and whose results are to be written."""

    key: str
    path: str
    job: Job | None
    """None: it was deleted."""
    outputs: Mapping[str, Written]
    """Files that were written for it before, by format."""


class WatchedFiles:
    """The rows of one folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def key(self, path: str) -> str:
        """Return the key of the file at this path in the folder."""
        return hashlib.sha256(b"\0".join((os.fsencode(self._folder), os.fsencode(path)))).hexdigest()

    async def known(self, files: Sequence[tuple[str, Stamp]]) -> set[str]:
        """Return the paths of those of these files that have a row with the same stamp."""
        keys = {self.key(path): (path, stamp) for path, stamp in files}
        table = watched_files
        columns = select(table.c.key, table.c.size_bytes, table.c.mtime_ns).where(table.c.key.in_(keys))
        async with self._database.reading() as connection:
            rows = (await connection.execute(columns)).all()
        stamps = {row.key: Stamp(row.size_bytes, row.mtime_ns) for row in rows}
        return {path for key, (path, stamp) in keys.items() if stamps.get(key) == stamp}

    def recorder(self, path: str, stamp: Stamp) -> Recorder:
        """Return a function that records the job of a file in the transaction that creates it. It raises Known."""

        async def record(connection: AsyncConnection, made: Sequence[Job]) -> None:
            if not await self._put(connection, path, stamp, job_id=made[0].id, told=""):
                raise Known

        return record

    async def refused(self, path: str, stamp: Stamp, outputs: Mapping[str, Written]) -> None:
        """Record a file that is not accepted as a recording."""
        async with self._database.writing() as connection:
            await self._put(connection, path, stamp, job_id="", told=REFUSED)
            which = watched_files.c.key == self.key(path)
            await connection.execute(update(watched_files).where(which).values(outputs=_dumped(outputs)))

    async def _put(self, connection: AsyncConnection, path: str, stamp: Stamp, *, job_id: str, told: str) -> bool:
        """Write the row of a file; return False if there is one with the same stamp."""
        table = watched_files
        new = {
            "size_bytes": stamp.size_bytes, "mtime_ns": stamp.mtime_ns, "job_id": job_id, "told": told,
            "begun_at": time.time(),
        }  # fmt: skip
        about = {"key": self.key(path), "folder": _text(str(self._folder)), "path": _text(path), "outputs": ""}
        changed = or_(table.c.size_bytes != stamp.size_bytes, table.c.mtime_ns != stamp.mtime_ns)
        statement = self._database.insert(table).values(**about, **new)
        statement = statement.on_conflict_do_update(index_elements=["key"], set_=new, where=changed)
        return (await connection.execute(statement.returning(table.c.key))).first() is not None

    async def outputs(self, path: str) -> dict[str, Written]:
        """Return the files that were written for the file at this path, by format."""
        table = watched_files
        async with self._database.reading() as connection:
            return _loaded(await connection.scalar(select(table.c.outputs).where(table.c.key == self.key(path))) or "")

    async def queued(self) -> int:
        """Return the number of waiting jobs of all folders."""
        wanted = select(func.count()).select_from(watched_files.join(jobs, jobs.c.id == watched_files.c.job_id))
        async with self._database.reading() as connection:
            waiting = wanted.where(watched_files.c.told == "", jobs.c.status == Status.QUEUED)
            return await connection.scalar(waiting) or 0

    async def due(self) -> list[Due]:
        """Return files whose jobs have ended, some at a time."""
        table, final = watched_files, [status.value for status in FINAL]
        ended = or_(jobs.c.id.is_(None), jobs.c.status.in_(final))
        wanted = (
            select(
                table.c.key, table.c.path, table.c.outputs, *[column.label(f"job_{column.name}") for column in jobs.c]
            )
            .select_from(table.outerjoin(jobs, jobs.c.id == table.c.job_id))
            .where(and_(table.c.told == "", table.c.folder == _text(str(self._folder)), ended))
            .where(table.c.begun_at <= time.time())
            .order_by(table.c.begun_at)
            .limit(DUE_AT_ONCE)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(wanted)).mappings().all()
        found = []
        for row in rows:
            own = {column.name: row[f"job_{column.name}"] for column in jobs.c}
            job = Job.of(own) if own["id"] is not None else None  # type: ignore[arg-type]  # a mapping of all columns
            found.append(Due(row["key"], _path(row["path"]), job, _loaded(row["outputs"])))
        return found

    async def told(self, due: Due, outputs: Mapping[str, Written]) -> None:
        """Note that the results of a job were written. Those of a later attempt are due again."""
        state, table = GONE if due.job is None else due.job.status.value, watched_files
        statement = update(table).where(table.c.key == due.key)
        async with self._database.writing() as connection:
            if due.job is not None:
                # Locked until the row is written: a retry changes the job first.
                version = select(jobs.c.version).where(jobs.c.id == due.job.id).with_for_update()
                if await connection.scalar(version) not in (due.job.version, None):
                    state = ""
                statement = statement.where(table.c.job_id == due.job.id)
            await connection.execute(statement.values(told=state, outputs=_dumped(outputs)))

    async def planned(self, due: Due, outputs: Mapping[str, Written]) -> None:
        """Note the names that the results of a job are about to get."""
        statement = update(watched_files).where(watched_files.c.key == due.key).values(outputs=_dumped(outputs))
        async with self._database.writing() as connection:
            await connection.execute(statement)

    async def later(self, due: Due, in_s: float) -> None:
        """Leave the results of a job for later; others come first."""
        statement = update(watched_files).where(watched_files.c.key == due.key).values(begun_at=time.time() + in_s)
        async with self._database.writing() as connection:
            await connection.execute(statement)

    async def now(self) -> None:
        """Let all results that were left for later be due now."""
        table, now = watched_files, time.time()
        left = and_(table.c.told == "", table.c.folder == _text(str(self._folder)), table.c.begun_at > now)
        async with self._database.writing() as connection:
            await connection.execute(update(table).where(left).values(begun_at=now))


def _text(path: str) -> str:
    """Return a path as text that a database can store: names of files need not be text in any encoding."""
    return path if encodable(path) == path and not path.startswith('"') else json.dumps(path)


def _path(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def _dumped(outputs: Mapping[str, Written]) -> str:
    return json.dumps({kind: asdict(one) for kind, one in outputs.items()})


def _loaded(text: str) -> dict[str, Written]:
    return {kind: Written(**one) for kind, one in json.loads(text or "{}").items()}
