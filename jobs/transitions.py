"""Changes of a job's state, each a compare-and-set in SQL: of two concurrent changes only the first has an effect.

All functions run in the caller's transaction, and update the tallies and the webhook outbox in it.
"""

import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Unpack

from sqlalchemy import RowMapping, Table, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from jobs import schema
from jobs.addresses import counted_host
from jobs.database import Database
from jobs.job import Job
from jobs.rows import Changes, JobRow
from jobs.schema import jobs
from jobs.states import FINAL, Status, sources

EVENTS = {
    Status.COMPLETED: "transcription.completed",
    Status.FAILED: "transcription.failed",
    Status.CANCELLED: "transcription.cancelled",
    Status.EXPIRED: "transcription.expired",
}
"""Webhook events by the state that a job has reached."""
Tally = Counter[tuple[str, str]]
"""Changes of the numbers of jobs, by owner and state."""


async def move(
    connection: AsyncConnection,
    database: Database,
    target: Status,
    *which: ColumnElement[bool],
    within: frozenset[Status] = frozenset(Status),
    webhook_url: str = "",
    **values: Unpack[Changes],
) -> list[Job]:
    """Move the jobs that match the conditions to `target` if that is allowed; return the changed jobs.

    within: only from these states. values: other columns. webhook_url: notified in addition to the job's own webhook.
    """
    now = time.time()
    moved: list[Job] = []
    tally: Tally = Counter()
    # One state at a time: RETURNING returns the new row, but the tallies need the old state.
    for source in sources(target, within=within):
        changed = {"status": target.value, "version": jobs.c.version + 1, "updated_at": now, **values}
        if target in FINAL:
            changed |= {"finished_at": now, "lease": None, "partial": None}
        statement = update(jobs).where(jobs.c.status == source, *which).values(changed).returning(*jobs.c)
        rows = (await connection.execute(statement)).mappings().all()
        moved += [Job.of(row) for row in rows]
        for row in rows:
            tally[row["owner"], source] -= 1
            tally[row["owner"], target.value] += 1
    await count(connection, database, tally)
    if target in EVENTS:
        await announce(connection, moved, webhook_url)
    return moved


async def create(
    connection: AsyncConnection, database: Database, rows: Sequence[JobRow], *, webhook_url: str = ""
) -> list[Job]:
    """Insert new jobs with the states in their rows; return the jobs."""
    await connection.execute(insert(jobs), list(rows))
    await count(connection, database, Counter((row["owner"], row["status"]) for row in rows))
    made = [Job.of(_as_mapping(row)) for row in rows]
    await announce(connection, [job for job in made if job.final], webhook_url)
    return made


def _as_mapping(row: Mapping[str, object]) -> RowMapping:
    return row  # type: ignore[return-value]  # has all columns by name, like a row


async def count(connection: AsyncConnection, database: Database, changes: Tally) -> None:
    """Add to the tallies, in the order of names so that concurrent transactions cannot deadlock."""
    all_of: Counter[str] = Counter()
    for (_, status), number in changes.items():
        all_of[status] += number
    for status, number in sorted(all_of.items()):
        await _add(connection, database, schema.tallies, number, status=status)
    for (owner, status), number in sorted(changes.items()):
        if owner:
            await _add(connection, database, schema.owner_tallies, number, owner=owner, status=status)


async def _add(connection: AsyncConnection, database: Database, table: Table, number: int, **which: str) -> None:
    if number:
        statement = database.insert(table).values(jobs=number, **which)
        changed = {"jobs": table.c.jobs + number}
        await connection.execute(statement.on_conflict_do_update(index_elements=list(which), set_=changed))


async def announce(connection: AsyncConnection, finished: Sequence[Job], webhook_url: str = "") -> None:
    """Add events for webhooks to the outbox, in the transaction that ends the jobs."""
    now = time.time()
    rows = [
        {
            "id": f"msg_{secrets.token_hex(16)}", "job_id": job.id, "url": url, "event": EVENTS[job.status],
            "status": "pending", "attempts": 0, "due_at": now, "created_at": now, "since": now, "owner": owner,
            "host": counted_host(url),
        }
        for job in finished
        # The deployment's own webhook has no owner, even if a job names it.
        for url, owner in {job.webhook_url: job.owner, webhook_url: ""}.items()
        if url
    ]  # fmt: skip
    if rows:
        await connection.execute(insert(schema.deliveries), rows)
