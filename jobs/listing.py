"""Lists of jobs, newest first, at any size of the table: by cursor from the index, counts from the tallies."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from jobs.database import Database
from jobs.errors import Refused
from jobs.schema import Job, jobs, tallies
from jobs.states import Status

MAX_LIMIT = 200
MAX_SKIPPED = 10_000
"""A page by number may begin so far in: all rows before it are read. Cursors have no such end."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: Sequence[Job]
    next_cursor: str | None
    """What to ask for the part after it; None: there is none."""
    total: int
    """Jobs in the whole list."""


async def list_jobs(
    database: Database,
    *,
    limit: int = 20,
    page: int | None = None,
    cursor: str | None = None,
    statuses: Sequence[Status] = (),
    session_id: str | None = None,
) -> Page:
    """A page of the newest jobs. page: from 1. cursor: of an earlier page. Raises Refused (bad_parameter)."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Refused(f"limit: from 1 to {MAX_LIMIT}.", code="bad_parameter")
    if cursor is not None and not (len(cursor) == 32 and all(digit in "0123456789abcdef" for digit in cursor)):
        raise Refused("cursor: send the next_cursor of an earlier answer.", code="bad_parameter")
    skipped = (page - 1) * limit if page is not None and cursor is None else 0
    if not 0 <= skipped <= MAX_SKIPPED:
        raise Refused(f"page: from 1, at most {MAX_SKIPPED} jobs in; use cursor beyond that.", code="bad_parameter")
    query = select(jobs)
    if statuses:
        query = query.where(jobs.c.status.in_([status.value for status in statuses]))
    if session_id is not None:
        query = query.where(jobs.c.session_id == session_id)
    listed = query if cursor is None else query.where(jobs.c.id < cursor)
    async with database.reading() as connection:
        found = await connection.execute(listed.order_by(jobs.c.id.desc()).limit(limit + 1).offset(skipped))
        rows = [Job.of(row) for row in found.mappings()]
        if session_id is None:
            counted = await connection.execute(select(tallies))
            numbers = {row.status: row.jobs for row in counted}
            total = sum(numbers.get(status.value, 0) for status in statuses or Status)
        else:
            total = await connection.scalar(select(func.count()).select_from(query.subquery())) or 0
    more = len(rows) > limit
    return Page(rows[:limit], rows[limit - 1].id if more else None, total)


async def numbers(database: Database) -> dict[Status, int]:
    """How many jobs are in each state."""
    async with database.reading() as connection:
        counted = {row.status: row.jobs for row in await connection.execute(select(tallies))}
    return {status: counted.get(status.value, 0) for status in Status}
