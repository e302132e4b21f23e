"""Search in transcripts: the newest jobs with a passage that has all words of the query, and where they are said."""

import asyncio
import bisect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.errors import Refused
from jobs.job import Job
from jobs.schema import jobs
from jobs.transcript_library.backlog import indexed
from jobs.transcript_library.passages import owner_token
from jobs.transcript_library.words import Term, places, terms

MAX_QUERY_CHARS = 200
MAX_LIMIT = 50
SHOWN = 3
"""Passages shown of one job."""
WINDOW = 100
"""Passages that one query reads."""
LOOKED_THROUGH = 1_000
"""Passages that PostgreSQL looks through, the newest first, before it asks its index."""
ROUNDS = 20
"""Queries for one page; the page's cursor continues the search."""
SNIPPET = 160
"""Characters of a snippet around its first match, about."""
_SQLITE = """
    SELECT passages.id, passages.job_id, passages.text, passages.starts
    FROM passages_words JOIN passages ON passages.id = passages_words.rowid
    WHERE passages_words MATCH :query AND passages_words.rowid < :below
    ORDER BY passages_words.rowid DESC LIMIT :most
"""
_POSTGRESQL = """
    SELECT id, job_id, text, starts FROM passages
    WHERE words @@ to_tsquery('simple', :query) AND id < :below
    ORDER BY id DESC LIMIT :most
"""
_POSTGRESQL_LATEST = """
    SELECT id, job_id, text, starts FROM (
        SELECT * FROM passages WHERE id < :below ORDER BY id DESC LIMIT :looked_through
    ) AS latest
    WHERE words @@ to_tsquery('simple', :query) ORDER BY id DESC LIMIT :most
"""
_POSTGRESQL_LATEST_OF_OWNER = """
    SELECT id, job_id, text, starts FROM (
        SELECT *, split_part(tokens, ' ', 1) AS owner FROM passages
        WHERE (split_part(tokens, ' ', 1), id) < (:owner, :below) AND split_part(tokens, ' ', 1) >= :owner
        ORDER BY owner DESC, id DESC LIMIT :looked_through
    ) AS latest
    WHERE words @@ to_tsquery('simple', :query) ORDER BY owner DESC, id DESC LIMIT :most
"""
"""Compared and ordered by both columns of the index `passages_words_by_owner`, so that PostgreSQL uses it."""
_NEWEST = 2**63 - 1
_CURSOR = re.compile("-?[0-9]{1,19}")
"""The id of a passage; those of transcripts from before the search are negative."""
_Row = tuple[str, str]
"""Text and starts of a passage."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a passage."""

    start_s: float
    """Time of its first match, by the start of its segment."""
    text: str
    marks: list[tuple[int, int]]
    """Places of the matches in the text (start, end)."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A job with matches."""

    job: Job
    snippets: list[Snippet] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hits:
    """A page of a search."""

    items: list[Hit]
    next_cursor: str | None
    """Continues the search; None at its end."""
    indexed: float | None = None
    """The part of the transcripts from before the search that can be found, from 0 to 1; None: all."""


async def search(
    database: Database, query: str, *, owner: str | None = None, limit: int = 20, cursor: str | None = None
) -> Hits:
    """Return jobs with these words, the newest transcripts first. owner: only that caller's jobs.

    Raises Refused (bad_parameter).
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise Refused(f"limit must be from 1 to {MAX_LIMIT}.", code="bad_parameter")
    if len(query) > MAX_QUERY_CHARS:
        raise Refused(f"q must have at most {MAX_QUERY_CHARS} characters.", code="bad_parameter")
    wanted, below = terms(query), _below(cursor)
    if not wanted:
        return Hits([], None)
    statements = _fts5(wanted, owner) if database.is_sqlite else _tsquery(wanted, owner)
    found: dict[str, list[_Row]] = {}
    async with database.reading() as connection:
        more, below = await _passages(connection, statements, below, limit, found)
        jobs_found = await _jobs(connection, list(found), owner)
        part = await indexed(connection)
    # In a thread, after the connection is free: words are looked for in many passages.
    hits = await asyncio.to_thread(_hits, jobs_found, found, wanted)
    return Hits(hits, str(below) if more else None, part)


async def _passages(
    connection: AsyncConnection, statements: Iterable[TextClause], below: int, limit: int, found: dict[str, list[_Row]]
) -> tuple[bool, int]:
    """Add the passages of up to `limit` jobs to `found`; return whether there may be more, and from which id on.

    statements: each continues where the one before it has found its last passage; the last one finds all.
    """
    rounds = 0
    for statement in statements:
        rows: Sequence[Row[Any]] | None = None
        while rows is None or len(rows) == WINDOW:
            if rounds == ROUNDS:
                return True, below
            rounds += 1
            rows = (await connection.execute(statement, {"below": below, "most": WINDOW})).all()
            for row in rows:
                if row.job_id not in found and len(found) == limit:
                    return True, below
                below = row.id
                of_job = found.setdefault(row.job_id, [])
                if len(of_job) < SHOWN:
                    of_job.append((row.text, row.starts))
    return False, below


def _below(cursor: str | None) -> int:
    if cursor is None:
        return _NEWEST
    if not _CURSOR.fullmatch(cursor):
        raise Refused("cursor must be the next_cursor of an earlier response.", code="bad_parameter")
    return max(-_NEWEST, min(int(cursor), _NEWEST))


def _fts5(wanted: Sequence[Term], owner: str | None) -> Sequence[TextClause]:
    """Return the statement for FTS5. Tokens have letters and digits only, so nothing needs escaping."""
    parts = [f'"{" ".join(term.tokens)}"{"*" if term.begins else ""}' for term in wanted]
    asked = " AND ".join([f'"{owner_token(owner)}"', *parts] if owner is not None else parts)
    return [text(_SQLITE).bindparams(query=asked)]


def _tsquery(wanted: Sequence[Term], owner: str | None) -> Sequence[TextClause]:
    """Return the statements for `to_tsquery`.

    The index cannot return matches by age: for usual words, finding all matches and sorting them takes tens of
    milliseconds, while there are enough of them among the newest passages.
    """
    parts = []
    for term in wanted:
        words = [f"'{token}'" for token in term.tokens]
        if term.begins:
            words[-1] += ":*"
        parts.append(f"({' <-> '.join(words)})")
    asked = " & ".join(parts)
    if owner is None:
        latest = text(_POSTGRESQL_LATEST).bindparams(query=asked, looked_through=LOOKED_THROUGH)
        return [latest, text(_POSTGRESQL).bindparams(query=asked)]
    token = owner_token(owner)
    latest = text(_POSTGRESQL_LATEST_OF_OWNER).bindparams(query=asked, looked_through=LOOKED_THROUGH, owner=token)
    return [latest, text(_POSTGRESQL).bindparams(query=f"'{token}' & {asked}")]


async def _jobs(connection: AsyncConnection, ids: Sequence[str], owner: str | None) -> list[Job]:
    """Return those of these jobs that exist, in this order."""
    wanted = select(jobs).where(jobs.c.id.in_(ids))
    if owner is not None:
        wanted = wanted.where(jobs.c.owner == owner)
    by_id = {job.id: job for job in map(Job.of, (await connection.execute(wanted)).mappings())}
    return [by_id[one] for one in ids if one in by_id]


def _hits(of: Sequence[Job], found: Mapping[str, Sequence[_Row]], wanted: Sequence[Term]) -> list[Hit]:
    made = []
    for job in of:
        snippets = [_snippet(whole, starts, wanted) for whole, starts in found[job.id]]
        made.append(Hit(job, sorted(snippets, key=lambda one: one.start_s)))
    return made


def _snippet(whole: str, starts: str, wanted: Sequence[Term]) -> Snippet:
    """Return the part of a passage around its first match."""
    marks = places(whole, wanted)
    first = marks[0][0] if marks else 0
    times: list[Any] = json.loads(starts)
    start_s = float(times[max(0, bisect.bisect_right([place for place, _ in times], first) - 1)][1])
    begin, end = _cut(whole, first)
    inside = [(start - begin, stop - begin) for start, stop in marks if begin <= start and stop <= end]
    return Snippet(start_s, whole[begin:end], inside)


def _cut(whole: str, first: int) -> tuple[int, int]:
    """Return begin and end of a snippet, at spaces where there are some near."""
    begin, end = max(0, first - SNIPPET // 3), min(len(whole), first + SNIPPET)
    if begin and (space := whole.find(" ", begin, first)) >= 0:
        begin = space + 1
    if end < len(whole) and (space := whole.rfind(" ", first + SNIPPET // 2, end)) >= 0:
        end = space
    return begin, end
