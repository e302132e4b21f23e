"""Lists of jobs, newest first, fast at any table size: cursors use the index, counts the tallies."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.errors import Refused
from jobs.job import Job
from jobs.schema import jobs, owner_tallies, tallies
from jobs.states import Status

MAX_LIMIT = 200
MAX_SKIPPED = 10_000
"""Maximum number of rows before a page by number, because all of them are read. Cursors have no such limit."""
SEARCHED = 2_000
"""Number of jobs whose names one page of a search examines, because no index covers parts of names. The page's cursor
continues the search."""
MAX_SEARCH_CHARS = 200


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: Sequence[Job]
    next_cursor: str | None
    """Cursor of the next part, or None at the end."""
    total: int
    """Number of jobs in the whole list, regardless of the search."""


async def list_jobs(
    database: Database,
    *,
    limit: int = 20,
    page: int | None = None,
    cursor: str | None = None,
    statuses: Sequence[Status] = (),
    owner: str | None = None,
    session_id: str | None = None,
    search: str | None = None,
    tag: str | None = None,
    pinned: bool | None = None,
) -> Page:
    """Return a page of the newest jobs. page: number from 1. cursor: from an earlier page. owner: only that caller's
    jobs. search: only jobs whose file name or URL contains this; such a page can be short or empty and still have a
    next page. tag: only jobs with this tag, in any case. pinned: only pinned jobs, or only others.

    Raises Refused (bad_parameter).
    """
    skipped = _checked(limit, page, cursor, search)
    # One query per state: the index then provides the order. A query over several states would sort all rows.
    wanted = [status.value for status in dict.fromkeys(statuses)]
    each = [[jobs.c.status == status] for status in wanted] or [[]]
    chosen = _chosen(session_id, tag, pinned, sqlite=database.is_sqlite)
    for conditions in each:
        if owner is not None:
            conditions.append(jobs.c.owner == owner)
        conditions += chosen
    below: list[ColumnElement[bool]] = [] if cursor is None else [jobs.c.id < cursor]
    most = SEARCHED if search else skipped + limit + 1
    # Select the searched columns with the IDs: if they were joined later, PostgreSQL might scan the whole table.
    columns = (jobs.c.id, jobs.c.filename, jobs.c.source_url) if search else (jobs.c.id,)
    newest = [select(*columns).where(*conditions, *below).order_by(jobs.c.id.desc()).limit(most) for conditions in each]
    async with database.reading() as connection:
        ids = _together(newest, most)
        if search:
            found, next_cursor = await _searched(connection, ids, search, limit, skipped)
        else:
            wanted_ids = ids.limit(limit + 1).offset(skipped)
            rows = select(jobs).where(jobs.c.id.in_(wanted_ids)).order_by(jobs.c.id.desc())
            found = [Job.of(row) for row in (await connection.execute(rows)).mappings()]
            next_cursor = found[limit - 1].id if len(found) > limit else None
        total = await _total(connection, wanted, owner, chosen)
    return Page(found[:limit], next_cursor, total)


def _chosen(session_id: str | None, tag: str | None, pinned: bool | None, *, sqlite: bool) -> list[ColumnElement[bool]]:
    """Return the conditions without a tally."""
    found: list[ColumnElement[bool]] = []
    if session_id is not None:
        found.append(jobs.c.session_id == session_id)
    if tag is not None:
        # The first condition lets the database use the index of tagged jobs.
        found.append(jobs.c.tags != "")
        quoted = json.dumps(tag, ensure_ascii=False)
        if sqlite:
            found.append(func.casefold(jobs.c.tags).contains(quoted.casefold(), autoescape=True))
        else:
            found.append(jobs.c.tags.icontains(quoted, autoescape=True))
    if pinned is not None:
        found.append(jobs.c.pinned_at.is_not(None) if pinned else jobs.c.pinned_at.is_(None))
    return found


def _checked(limit: int, page: int | None, cursor: str | None, search: str | None) -> int:
    """Return the number of skipped jobs. Raises Refused."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Refused(f"limit must be from 1 to {MAX_LIMIT}.", code="bad_parameter")
    if cursor is not None and not (len(cursor) == 32 and all(digit in "0123456789abcdef" for digit in cursor)):
        raise Refused("cursor must be the next_cursor of an earlier response.", code="bad_parameter")
    if search and (len(search) > MAX_SEARCH_CHARS or "\0" in search):
        raise Refused(f"search must have at most {MAX_SEARCH_CHARS} characters.", code="bad_parameter")
    skipped = (page - 1) * limit if page is not None and cursor is None else 0
    if not 0 <= skipped <= MAX_SKIPPED:
        raise Refused(
            f"page must be at least 1 and skip at most {MAX_SKIPPED} jobs; use cursor beyond that.",
            code="bad_parameter",
        )
    return skipped


def _together(newest: Sequence[Select[Any]], most: int) -> Any:
    if len(newest) == 1:
        return newest[0]
    parts = union_all(*(select(*one.subquery().c) for one in newest)).subquery()
    return select(*parts.c).order_by(parts.c.id.desc()).limit(most)


async def _searched(
    connection: AsyncConnection, ids: Any, search: str, limit: int, skipped: int
) -> tuple[list[Job], str | None]:
    looked = ids.subquery()
    # `icontains` escapes LIKE's wildcards.
    named = looked.c.filename.icontains(search, autoescape=True) | looked.c.source_url.icontains(
        search, autoescape=True
    )
    hits = select(looked.c.id).where(named).order_by(looked.c.id.desc()).limit(limit + 1).offset(skipped)
    rows = select(jobs).where(jobs.c.id.in_(hits)).order_by(jobs.c.id.desc())
    found = [Job.of(row) for row in (await connection.execute(rows)).mappings()]
    if len(found) > limit:
        return found, found[limit - 1].id
    last = (await connection.execute(select(func.count(), func.min(looked.c.id)).select_from(looked))).one()
    return found, last[1] if last[0] == SEARCHED else None


async def _total(
    connection: AsyncConnection, statuses: Sequence[str], owner: str | None, chosen: Sequence[ColumnElement[bool]]
) -> int:
    if chosen:
        mine = list(chosen)
        if owner is not None:
            mine.append(jobs.c.owner == owner)
        if statuses:
            mine.append(jobs.c.status.in_(statuses))
        return await connection.scalar(select(func.count()).select_from(jobs).where(*mine)) or 0
    counted = await _counted(connection, owner)
    return sum(counted.get(status, 0) for status in statuses or Status)


async def tags_of(database: Database, owner: str | None = None) -> dict[str, int]:
    """Return the tags with their numbers of jobs, in alphabetical order. owner: only that caller's jobs."""
    wanted = select(jobs.c.tags, func.count()).where(jobs.c.tags != "").group_by(jobs.c.tags)
    if owner is not None:
        wanted = wanted.where(jobs.c.owner == owner)
    counted: Counter[str] = Counter()
    async with database.reading() as connection:
        for tags, number in await connection.execute(wanted):
            for tag in json.loads(tags):
                counted[tag] += number
    return dict(sorted(counted.items(), key=lambda one: one[0].casefold()))


async def _counted(connection: AsyncConnection, owner: str | None) -> dict[str, int]:
    kept = select(tallies) if owner is None else select(owner_tallies).where(owner_tallies.c.owner == owner)
    return {row.status: row.jobs for row in await connection.execute(kept)}


async def numbers(database: Database, owner: str | None = None) -> dict[Status, int]:
    """Return the number of jobs in each state. owner: only that caller's jobs."""
    async with database.reading() as connection:
        counted = await _counted(connection, owner)
    return {status: counted.get(status.value, 0) for status in Status}
