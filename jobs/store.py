"""Jobs in the database, from their creation to their end. Each method is one transaction."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Unpack

from sqlalchemy import ColumnElement, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import schema
from jobs.cache import Cache, NoCache
from jobs.database import Database
from jobs.errors import JobNotFound, KeyReused, NotPossible
from jobs.insights.rows import add_insights
from jobs.job import Job, Submission
from jobs.removal import remove
from jobs.rows import Changes, JobRow
from jobs.schema import jobs, new_id
from jobs.states import FINAL, Status
from jobs.transcript_library.passages import Passage, add_passages, passages_of
from jobs.transitions import create, move
from pipeline.errors import Overloaded
from pipeline.telemetry import tracing

ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})
MAX_INTERRUPTIONS = 100
"""Number of lost job workers after which a job is given up, because the job itself may crash them."""


class JobStore:
    """Access to the tables for code that creates or runs jobs."""

    def __init__(
        self, database: Database, *, max_waiting: int, webhook_url: str = "", cache: Cache | None = None,
        after: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """max_waiting: maximum number of queued jobs. webhook_url: notified of the end of every job. cache: cache of
        results. after: kinds of insights that the language model writes about each completed job."""
        self._cache = cache or NoCache()
        self._after = after
        self.database = database
        self._max_waiting = max_waiting
        self._webhook_url = webhook_url

    async def submit(
        self, submissions: Sequence[Submission], *, cached: Sequence[str | None], key: str | None = None,
        also: Callable[[AsyncConnection, Sequence[Job]], Awaitable[None]] | None = None,
    ) -> tuple[list[Job], bool]:  # fmt: skip
        """Create a job for each submission, all or none. Return the jobs in order, and whether they are new.

        cached: for each submission, the key of its result; if that result exists, the job is completed at once. key:
        sending the same key again returns the same jobs. also: called in the same transaction with new jobs; its error
        creates none. Raises KeyReused for a key that came with other submissions, Overloaded.
        """
        now = time.time()
        known = await self._passages(cached)
        async with self.database.writing() as connection:
            there = await self._touched(connection, [one for one in cached if one is not None], now)
            rows = [
                _row(one, result if result in there else None, there.get(result or ""), now)
                for one, result in zip(submissions, cached, strict=True)
            ]
            if key is not None:
                before = await self._remember(connection, key, submissions, [row["id"] for row in rows], now)
                if before is not None:
                    return before, False
            waiting = await connection.scalar(
                select(schema.tallies.c.jobs).where(schema.tallies.c.status == Status.QUEUED)
            )
            if (waiting or 0) + len(rows) > self._max_waiting:
                raise Overloaded("Too many jobs are waiting; retry later.", retry_after_s=60.0)
            made = await create(connection, self.database, rows, webhook_url=self._webhook_url)
            for job in made:
                if job.result_key is not None:
                    # A result that was stored only now has no passages here yet.
                    missing = job.result_key not in known
                    found = await self._read(connection, job.result_key) if missing else known[job.result_key]
                    await self._completed(connection, job, found)
            if also is not None:
                await also(connection, made)
            return made, True

    async def _passages(self, cached: Sequence[str | None]) -> dict[str, list[Passage]]:
        """Return the passages of those of these results that exist."""
        found = {}
        for key in {one for one in cached if one is not None}:
            if (body := await self.result(key)) is not None:
                found[key] = await asyncio.to_thread(passages_of, body)
        return found

    @staticmethod
    async def _read(connection: AsyncConnection, key: str) -> list[Passage]:
        body = await connection.scalar(select(schema.results.c.body).where(schema.results.c.key == key))
        return await asyncio.to_thread(passages_of, body) if body else []

    async def _completed(self, connection: AsyncConnection, job: Job, found: Sequence[Passage]) -> None:
        """Add the job's transcript to search, and what the language model is to write about it."""
        await add_passages(connection, job.id, job.owner, found)
        await add_insights(connection, job.id, self._after)

    @staticmethod
    async def _touched(connection: AsyncConnection, keys: Sequence[str], now: float) -> Mapping[str, float | None]:
        """Return which of these results exist, with the durations of their recordings in seconds. Also renew their age,
        so that they are not removed in the meantime."""
        if not keys:
            return {}
        table = schema.results
        touched = update(table).where(table.c.key.in_(keys)).values(used_at=now)
        rows = await connection.execute(touched.returning(table.c.key, table.c.duration_s))
        return {row.key: row.duration_s for row in rows}

    async def _remember(
        self, connection: AsyncConnection, key: str, submissions: Sequence[Submission], ids: list[str], now: float
    ) -> list[Job] | None:
        """Return the jobs that were created with this key before. If the key is new, remember it and return None."""
        hashed = hashlib.sha256(key.encode()).hexdigest()
        told = json.dumps([[*_content(one)] for one in submissions])
        fingerprint = hashlib.sha256(told.encode()).hexdigest()
        table = schema.idempotency
        values = {"key": hashed, "fingerprint": fingerprint, "job_ids": json.dumps(ids), "created_at": now}
        # On PostgreSQL a concurrent request with the same key waits here until the first one has committed.
        statement = self.database.insert(table).values(values).on_conflict_do_nothing().returning(table.c.key)
        if (await connection.execute(statement)).first() is not None:
            return None
        row = (await connection.execute(select(table).where(table.c.key == hashed))).mappings().one()
        if row["fingerprint"] != fingerprint:
            raise KeyReused("This Idempotency-Key was already used with another request; send a new one.")
        made = json.loads(row["job_ids"])
        found = (await connection.execute(select(jobs).where(jobs.c.id.in_(made)))).mappings()
        by_id = {job.id: job for job in map(Job.of, found)}
        return [by_id[id_] for id_ in made if id_ in by_id]

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        async with self.database.reading() as connection:
            row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).mappings().first()
        if row is None:
            raise JobNotFound("There is no job of this id.")
        return Job.of(row)

    async def get_all(self, job_ids: Sequence[str], owner: str | None) -> list[Job]:
        """Return those of these jobs that exist, in this order. owner: only that caller's jobs."""
        wanted = select(jobs).where(jobs.c.id.in_(job_ids))
        if owner is not None:
            wanted = wanted.where(jobs.c.owner == owner)
        async with self.database.reading() as connection:
            by_id = {job.id: job for job in map(Job.of, (await connection.execute(wanted)).mappings())}
        return [by_id[id_] for id_ in dict.fromkeys(job_ids) if id_ in by_id]

    # --- for job workers ---

    async def claim(self, job_id: str | None = None, *, background: bool = False) -> Job | None:
        """Claim the next due job, or this one if it is due. Return it running, with a lease for the caller, or None if
        there is none. background: the next one of those for which no user waits, instead of all others."""
        lease, now = secrets.token_hex(16), time.time()
        wanted = select(jobs.c.id).where(jobs.c.status == Status.QUEUED, jobs.c.due_at <= now)
        wanted = wanted.where(_background(background) if job_id is None else jobs.c.id == job_id)
        async with self.database.writing() as connection:
            found = await connection.scalar(wanted.order_by(jobs.c.id).limit(1).with_for_update(skip_locked=True))
            if found is None:
                return None
            begun: Changes = {
                "lease": lease,
                "started_at": now,
                "heartbeat_at": now,
                "attempts": jobs.c.attempts + 1,
            }
            begun |= {"progress": 0.0, "done_s": 0.0, "partial": None, "error_code": None, "error_message": None}
            moved = await move(connection, self.database, Status.RUNNING, jobs.c.id == found, **begun)
        return moved[0] if moved else None

    async def next_due(self, *, background: bool = False) -> float | None:
        """Return when the next queued job is due, or None if none is queued. background: as in `claim`."""
        async with self.database.reading() as connection:
            due: float | None = await connection.scalar(
                select(func.min(jobs.c.due_at)).where(jobs.c.status == Status.QUEUED, _background(background))
            )
            return due

    async def update(self, job: Job, **values: Unpack[Changes]) -> bool:
        """Update a job that the caller runs; return False if the caller's lease is lost."""
        now = time.time()
        changed = {**values, "version": jobs.c.version + 1, "updated_at": now, "heartbeat_at": now}
        async with self.database.writing() as connection:
            done = await connection.execute(update(jobs).where(*_mine(job)).values(changed))
        return bool(done.rowcount)

    async def beat(self, job: Job) -> bool:
        """Renew the heartbeat; return False if the caller's lease is lost."""
        async with self.database.writing() as connection:
            done = await connection.execute(update(jobs).where(*_mine(job)).values(heartbeat_at=time.time()))
        return bool(done.rowcount)

    async def complete(self, job: Job, result_key: str, body: str, duration_s: float) -> bool:
        """Store the result and complete the job; return False and store nothing if the caller's lease is lost."""
        now, table = time.time(), schema.results
        found = await asyncio.to_thread(passages_of, body)
        async with self.database.writing() as connection:
            moved = await move(
                connection, self.database, Status.COMPLETED, *_mine(job),
                webhook_url=self._webhook_url, result_key=result_key, progress=1.0, done_s=duration_s,
                duration_s=duration_s,
            )  # fmt: skip
            if moved:
                statement = self.database.insert(table).values(
                    key=result_key, body=body, duration_s=duration_s, used_at=now
                )
                again = {"used_at": now, "duration_s": duration_s}
                await connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=again))
                await self._completed(connection, moved[0], found)
        return bool(moved)

    async def fail(self, job: Job, code: str, message: str) -> bool:
        """End the job with an error; return False if the caller's lease is lost."""
        return await self._leave(job, Status.FAILED, error_code=code, error_message=message)

    async def again(self, job: Job, code: str, message: str, *, in_s: float, counted: bool = True) -> bool:
        """Queue the job for a retry; return False if the caller's lease is lost. counted: whether this attempt counts;
        it does not after an overload or on a full disk."""
        attempts = jobs.c.attempts if counted else jobs.c.attempts - 1
        return await self._leave(
            job, Status.QUEUED, lease=None, due_at=time.time() + in_s, attempts=attempts, error_code=code,
            error_message=message,
        )  # fmt: skip

    async def release(self, job: Job) -> bool:
        """Queue the job again at its old position, because its job worker is stopping."""
        return await self._leave(job, Status.QUEUED, **_interrupted())

    async def _leave(self, job: Job, target: Status, **values: Unpack[Changes]) -> bool:
        async with self.database.writing() as connection:
            moved = await move(connection, self.database, target, *_mine(job), webhook_url=self._webhook_url, **values)
        return bool(moved)

    async def recover(self, *, silent_s: float = 0.0) -> list[Job]:
        """Queue running jobs again whose heartbeat is older than this. 0: all running jobs, for a caller that knows
        that no job worker is active."""
        lost = jobs.c.heartbeat_at <= time.time() - silent_s
        running = frozenset({Status.RUNNING})
        async with self.database.writing() as connection:
            await move(
                connection, self.database, Status.FAILED, lost, jobs.c.interruptions >= MAX_INTERRUPTIONS,
                within=running, webhook_url=self._webhook_url, error_code="worker_lost",
                error_message="The job worker disappeared too often while it ran this job.",
            )  # fmt: skip
            return await move(connection, self.database, Status.QUEUED, lost, within=running, **_interrupted())

    # --- for clients ---

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; a cancelled job stays cancelled. Raises JobNotFound, NotPossible if it has ended otherwise."""
        async with self.database.writing() as connection:
            moved = await move(
                connection, self.database, Status.CANCELLED, jobs.c.id == job_id, within=ACTIVE,
                webhook_url=self._webhook_url,
            )  # fmt: skip
        if moved:
            return moved[0]
        job = await self.get(job_id)
        if job.status is not Status.CANCELLED:
            raise NotPossible(f"The job is {job.status.value} already.")
        return job

    async def retry(self, job_id: str) -> Job:
        """Queue a failed, expired or cancelled job again. Raises JobNotFound, NotPossible."""
        fresh: Changes = {
            "attempts": 0,
            "interruptions": 0,
            "due_at": time.time(),
            "finished_at": None,
            "progress": 0.0,
            "done_s": 0.0,
            "error_code": None,
            "error_message": None,
        }
        async with self.database.writing() as connection:
            moved = await move(connection, self.database, Status.QUEUED, jobs.c.id == job_id, within=FINAL, **fresh)
            files = schema.watched_files  # its folder gets the result of this attempt, too
            await connection.execute(update(files).where(files.c.job_id == job_id).values(told=""))
        if not moved:
            raise NotPossible(
                f"The job is {(await self.get(job_id)).status.value}; only failed, cancelled or expired jobs can be "
                "retried."
            )
        return moved[0]

    async def name_speakers(self, job_id: str, names: Mapping[str, str]) -> Job:
        """Set the names of a job's speakers. Raises JobNotFound."""
        values = {"speakers": json.dumps(dict(names)), "version": jobs.c.version + 1, "updated_at": time.time()}
        async with self.database.writing() as connection:
            named = await connection.execute(update(jobs).where(jobs.c.id == job_id).values(values).returning(*jobs.c))
            row = named.mappings().first()
        if row is None:
            raise JobNotFound("There is no job of this id.")
        return Job.of(row)

    async def arrange(
        self, job_id: str, *, filename: str | None = None, tags: Sequence[str] | None = None, pinned: bool | None = None
    ) -> Job:
        """Change the name, the tags or the pin of a job; None leaves them. Raises JobNotFound."""
        now = time.time()
        values: dict[str, object] = {"version": jobs.c.version + 1, "updated_at": now}
        if filename is not None:
            values["filename"] = filename
        if tags is not None:
            values["tags"] = json.dumps(list(tags), ensure_ascii=False) if tags else ""
        if pinned is not None:
            values["pinned_at"] = now if pinned else None
        async with self.database.writing() as connection:
            changed = await connection.execute(
                update(jobs).where(jobs.c.id == job_id).values(values).returning(*jobs.c)
            )
            row = changed.mappings().first()
        if row is None:
            raise JobNotFound("There is no job of this id.")
        return Job.of(row)

    async def delete(self, job_id: str) -> Job | None:
        """Remove a job and its deliveries. Return the job if it had not ended, so that its job worker can be stopped.

        Raises JobNotFound.
        """
        async with self.database.writing() as connection:
            stopped = await move(connection, self.database, Status.CANCELLED, jobs.c.id == job_id, within=ACTIVE)
            gone = await remove(connection, self.database, [job_id])
        if not gone:
            raise JobNotFound("There is no job of this id.")
        return stopped[0] if stopped else None

    async def result(self, key: str) -> str | None:
        """Return the body of the result with this key, or None."""
        if (known := await self._cache.get(key)) is not None:
            return known
        async with self.database.reading() as connection:
            body: str | None = await connection.scalar(select(schema.results.c.body).where(schema.results.c.key == key))
        if body is not None:
            await self._cache.put(key, body)
        return body


def _background(wanted: bool) -> ColumnElement[bool]:
    # Literals, so that the databases use the partial index.
    return jobs.c.background == literal_column("1" if wanted else "0")


def _mine(job: Job) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.id == job.id, jobs.c.lease == job.lease, jobs.c.status == Status.RUNNING


def _interrupted() -> Changes:
    return {
        "lease": None, "due_at": time.time(), "attempts": jobs.c.attempts - 1,
        "interruptions": jobs.c.interruptions + 1,
    }  # fmt: skip


def _content(one: Submission) -> tuple[str | None, ...]:
    # Not `owner`: the keys already include their sender.
    return one.filename, one.options.dumps(), one.sha256, one.source_url, one.session_id, one.webhook_url


def _row(one: Submission, result_key: str | None, duration_s: float | None, now: float) -> JobRow:
    """Return a row for a new job. duration_s: duration of the recording, if the result exists."""
    done = result_key is not None
    return {
        "id": new_id(), "status": (Status.COMPLETED if done else Status.QUEUED).value, "version": 1,
        "created_at": now, "updated_at": now, "started_at": None, "finished_at": now if done else None, "due_at": now,
        "filename": one.filename.replace("\0", "")[:255], "sha256": one.sha256, "size_bytes": one.size_bytes,
        "source_url": one.source_url, "options": one.options.dumps(), "owner": one.owner, "session_id": one.session_id,
        "webhook_url": one.webhook_url, "speakers": None, "progress": 1.0 if done else 0.0,
        "done_s": duration_s or 0.0, "duration_s": duration_s, "attempts": 0, "interruptions": 0, "lease": None,
        "heartbeat_at": None, "error_code": None, "error_message": None, "result_key": result_key,
        "partial": None, "trace": tracing.traceparent(), "tags": "", "pinned_at": None,
        "background": int(one.background),
    }  # fmt: skip
