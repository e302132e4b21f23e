"""Edited transcripts in the database: the current version of each, and the changes that lead back to earlier ones.

Version 0 is the transcript of the recogniser, which is always kept. Each edit makes the next version, and refers to the
version that it was made for: of two concurrent edits the second is a VersionConflict.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import schema
from jobs.editing import Change, Document, Edited, Operation, applied, difference, edited
from jobs.errors import JobNotFound, NotPossible, Refused, VersionConflict, VersionNotFound
from jobs.job import Job
from jobs.result import StoredResult, StoredSegment, named
from jobs.schema import jobs
from jobs.store import JobStore
from jobs.transcript_library.passages import passages_of, replace_passages
from jobs.turns import Turns
from pipeline.support.encodable import encodable
from pipeline.transcripts.subtitles import joined

MAX_VERSIONS = 200
"""Number of the latest versions of a transcript to which one can return, besides the original."""
MAX_HISTORY_CHARS = 16 << 20
"""Limit of the stored changes of one transcript, with the same effect."""
MAX_BODY_CHARS = 16 << 20
"""Limit of an edited transcript as it is stored: more than that of a recording of a day."""
MAX_GROWTH, SPARE_CHARS = 3, 100_000
"""Limit of the text of an edited transcript: this many times the original, and this many characters."""
NAMING_ATTEMPTS = 5
"""Attempts to save names of speakers, which do not refer to a version, while other processes edit the transcript."""
MAX_EDITS = 2
"""Number of edits at a time, one of each owner; others wait."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a transcript, and what made it."""

    version: int
    created_at: float
    author: str
    """The caller, as in `Job.owner`; "" without a key."""
    operations: Sequence[str]
    """Kinds of the operations: text, split, merge, speaker, merge_speakers, name."""
    restored: int | None
    """The version that was restored."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved edit."""

    version: int
    changes: Sequence[Change]
    """The changes from the version before, as in `jobs.editing`."""


class Documents:
    """Transcripts with their edits. Each method of a job without a result raises NotPossible (no_result)."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._database = store.database
        self._turns = Turns(MAX_EDITS, "edits")

    async def body(self, job: Job) -> str | None:
        """Return the transcript as it is now, JSON from `jobs.result.store_form`; None without a result."""
        if job.result_key is None:
            return None
        table = schema.documents
        async with self._database.reading() as connection:
            body: str | None = await connection.scalar(select(table.c.body).where(table.c.job_id == job.id))
        return body if body is not None else await self._store.result(job.result_key)

    async def edit(self, job: Job, version: int, operations: Sequence[Operation], *, author: str) -> Saved:
        """Apply operations to this version and save the result. Raises VersionConflict, Refused, JobNotFound,
        Overloaded."""

        async def work() -> Saved:
            result = await self._current(job, version)
            made = await asyncio.to_thread(lambda: edited(_document(result, job), operations))
            await self._check_length(job, made)
            kinds = list(dict.fromkeys(one.op for one in operations))
            return await self._save(job, version, result, made, author=author, operations=kinds)

        return await self._turns.run(job.owner, work)

    async def name_speakers(self, job: Job, names: Mapping[str, str], *, author: str) -> Saved | None:
        """Save these names of speakers, instead of all earlier ones, as a new version of whatever is current; None if
        they are the names already. Raises JobNotFound, VersionConflict, Overloaded."""

        async def work() -> Saved | None:
            for attempt in range(NAMING_ATTEMPTS):
                current = await self._store.get(job.id)
                if dict(current.speakers) == dict(names):
                    return None
                result = await self._loaded(current)
                before: Change = {"names": dict(current.speakers)}
                after: Change = {"names": dict(names)}
                made = Edited(Document(result["segments"], names), [after], [before])
                version = result.get("version", 0)
                try:
                    return await self._save(current, version, result, made, author=author, operations=["name"])
                except VersionConflict:  # an edit in another process came first
                    if attempt == NAMING_ATTEMPTS - 1:
                        raise
            raise AssertionError("the last attempt returns or raises")

        return await self._turns.run(job.owner, work)

    async def restore(self, job: Job, version: int, wanted: int, *, author: str) -> Saved:
        """Save an earlier version as the newest one. version: the current one. Raises VersionConflict, VersionNotFound,
        JobNotFound, Overloaded."""

        async def work() -> Saved:
            result = await self._current(job, version)
            now = _document(result, job)
            target = await self._earlier(job, version, now, wanted)

            def restored() -> Edited:
                return Edited(target, difference(now, target), difference(target, now))

            made = await asyncio.to_thread(restored)
            return await self._save(job, version, result, made, author=author, operations=["restore"], restored=wanted)

        return await self._turns.run(job.owner, work)

    async def versions(self, job: Job) -> list[Version]:
        """Return the versions to which one can return, newest first, without the original."""
        table = schema.versions
        columns = [table.c[name] for name in ("version", "created_at", "author", "operations", "restored")]
        async with self._database.reading() as connection:
            statement = select(*columns).where(table.c.job_id == job.id).order_by(table.c.version.desc())
            rows = (await connection.execute(statement)).mappings().all()
        return [Version(**{**row, "operations": row["operations"].split(",")}) for row in rows]

    async def at(self, job: Job, wanted: int) -> str:
        """Return the body of a version, with the names of speakers that it had. Raises VersionNotFound."""
        result = await self._loaded(job)
        version = result.get("version", 0)
        target = await self._earlier(job, version, _document(result, job), wanted)

        def told() -> str:
            return _body(named({**result, "segments": list(target.segments)}, target.names), target.segments, wanted)

        return await asyncio.to_thread(told)

    async def _loaded(self, job: Job) -> StoredResult:
        body = await self.body(job)
        if body is None:
            raise NotPossible(f"The job does not have a result; it is {job.status.value}.", code="no_result")
        loaded: StoredResult = await asyncio.to_thread(json.loads, body)
        return loaded

    async def _current(self, job: Job, version: int) -> StoredResult:
        """Return the current transcript. Raises VersionConflict if it is not this version."""
        result = await self._loaded(job)
        if result.get("version", 0) != version:
            raise VersionConflict(result.get("version", 0))
        return result

    async def _check_length(self, job: Job, made: Edited) -> None:
        """Raises Refused if the text has grown too much."""
        length = sum(len(one["text"]) for one in made.document.segments)
        if length <= SPARE_CHARS:
            return
        body = await self._store.result(job.result_key or "") or "{}"
        original = await asyncio.to_thread(json.loads, body)
        if length > MAX_GROWTH * len(original.get("text", "")) + SPARE_CHARS:
            raise Refused("The transcript would be too long.", code="bad_parameter")

    async def _earlier(self, job: Job, version: int, now: Document, wanted: int) -> Document:
        table = schema.versions
        statement = select(table.c.version, table.c.undo).where(table.c.job_id == job.id, table.c.version > wanted)
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement.order_by(table.c.version.desc()))).all()
        undo = [row.undo for row in rows if row.version <= version]
        if len(undo) == version - wanted >= 0:
            return await asyncio.to_thread(_back, now, undo)
        original = await self._store.result(job.result_key or "") if wanted == 0 else None
        if original is None:
            raise VersionNotFound(f"Version {wanted} does not exist, or too many edits followed it.")
        return Document((await asyncio.to_thread(json.loads, original))["segments"], now.names)

    async def _save(
        self, job: Job, version: int, before: StoredResult, made: Edited, *, author: str,
        operations: Sequence[str], restored: int | None = None,
    ) -> Saved:  # fmt: skip
        new, now, table = version + 1, time.time(), schema.documents
        body, undo = await asyncio.to_thread(_written, before, made, new)
        if len(body) > MAX_BODY_CHARS:
            raise Refused("The transcript would be too long.", code="bad_parameter")
        passages = await asyncio.to_thread(passages_of, body)
        changed: dict[str, object] = {"version": jobs.c.version + 1, "updated_at": now}
        same = [jobs.c.id == job.id, jobs.c.result_key == job.result_key]
        if made.document.names != job.speakers:
            changed["speakers"] = json.dumps(dict(made.document.names))
            same.append(jobs.c.version == job.version)  # another caller may have named speakers
        values = {"version": new, "body": body, "updated_at": now}
        async with self._database.writing() as connection:
            # Changing the job first makes concurrent edits wait for each other on PostgreSQL.
            touched = await connection.execute(update(jobs).where(*same).values(changed))
            first = self._database.insert(table).values(job_id=job.id, **values).on_conflict_do_nothing()
            later = update(table).where(table.c.job_id == job.id, table.c.version == version).values(values)
            statement = (later if version else first).returning(table.c.version)
            if not touched.rowcount or (await connection.execute(statement)).first() is None:
                raise await self._refusal(connection, job)
            row = {
                "job_id": job.id, "version": new, "created_at": now, "author": author, "restored": restored,
                "operations": ",".join(operations), "undo": undo, "size": len(undo),
            }  # fmt: skip
            await connection.execute(insert(schema.versions).values(row))
            await _forget_oldest(connection, job.id)
            await replace_passages(connection, job.id, job.owner, passages)
        return Saved(new, made.changes)

    @staticmethod
    async def _refusal(connection: AsyncConnection, job: Job) -> JobNotFound | VersionConflict:
        if await connection.scalar(select(jobs.c.id).where(jobs.c.id == job.id)) is None:
            return JobNotFound("There is no job of this id.")
        table = schema.documents
        return VersionConflict(await connection.scalar(select(table.c.version).where(table.c.job_id == job.id)) or 0)


async def _forget_oldest(connection: AsyncConnection, job_id: str) -> None:
    """Forget the oldest versions beyond the limits; the newest one always stays."""
    table = schema.versions
    sizes = select(table.c.version, table.c.size).where(table.c.job_id == job_id).order_by(table.c.version.desc())
    whole = 0
    for number, row in enumerate((await connection.execute(sizes)).all()):
        whole += row.size
        if number and (number >= MAX_VERSIONS or whole > MAX_HISTORY_CHARS):
            await connection.execute(delete(table).where(table.c.job_id == job_id, table.c.version <= row.version))
            return


def _document(result: StoredResult, job: Job) -> Document:
    return Document(result["segments"], dict(job.speakers))


def _back(now: Document, undo: Sequence[str]) -> Document:
    for changes in undo:
        for change in json.loads(changes):
            now, _ = applied(now, change)
    return now


def _written(before: StoredResult, made: Edited, version: int) -> tuple[str, str]:
    """Return the body of the new version, and the changes that undo it."""
    body = _body(before, made.document.segments, version)
    return body, encodable(json.dumps(made.undo, ensure_ascii=False))


def _body(result: StoredResult, segments: Sequence[StoredSegment], version: int) -> str:
    told: StoredResult = {
        **result,
        "text": joined(one["text"] for one in segments),
        "segments": [{**one, "id": number} for number, one in enumerate(segments)],
        "version": version,
    }
    return encodable(json.dumps(told, ensure_ascii=False))
