"""The index of search: each transcript as passages of some sentences, in the transactions that change the transcript.

The table is the same in both databases. The migration adds what only one of them has: triggers that keep SQLite's FTS5
index equal to it, and PostgreSQL's column of the type `tsvector`.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.schema import passages
from jobs.transcript_library.words import tokens
from pipeline.transcripts.subtitles import separator

FULL, LONGEST = 400, 800
"""Characters after which a passage ends at the next end of a sentence, and at the next end of a segment. A longer
segment is cut, so that a passage has less than twice LONGEST."""
DELETED_AT_ONCE = 1_000
_SENTENCE_END = re.compile(r"[.!?…。！？؟][\"'”’»)」』）]*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """Some sentences of a transcript."""

    text: str
    starts: tuple[tuple[int, float], ...]
    """Its segments: place of the first character in the text, and time in seconds."""
    tokens: str


def passages_of(body: str) -> list[Passage]:
    """Return the passages of a stored result, JSON from `jobs.result.store_form`."""
    found: list[Passage] = []
    text, starts = "", list[tuple[int, float]]()
    for segment in json.loads(body).get("segments", ()):
        said = segment["text"].strip()
        for at, piece in _pieces(said):
            text += separator(text, piece)
            share = at / len(said)
            starts.append((len(text), round(segment["start"] + share * (segment["end"] - segment["start"]), 3)))
            text += piece
            if len(text) >= LONGEST or (len(text) >= FULL and _SENTENCE_END.search(piece[-8:])):
                found.append(Passage(text, tuple(starts), tokens(text)))
                text, starts = "", []
    if text:
        found.append(Passage(text, tuple(starts), tokens(text)))
    return found


def _pieces(said: str) -> Iterator[tuple[int, str]]:
    """Yield the text of a segment in pieces of at most LONGEST characters, cut at spaces where there are some, and the
    place of each."""
    at = 0
    while len(said) - at > LONGEST:
        space = said.rfind(" ", at + LONGEST // 2, at + LONGEST + 1)
        end = space if space >= 0 else at + LONGEST
        yield at, said[at:end]
        at = end + (space >= 0)
    if said:
        yield at, said[at:]


def owner_token(owner: str) -> str:
    """Return the word that stands for the owner in the index, so that the index finds only the owner's passages."""
    return f"owner{hashlib.sha256(owner.encode()).hexdigest()[:24]}"


async def add_passages(connection: AsyncConnection, job_id: str, owner: str, found: Sequence[Passage]) -> None:
    """Add the passages of a job to the index."""
    rows = [passage_row(job_id, owner, one) for one in found]
    if rows:
        await connection.execute(insert(passages), rows)


async def add_older_passages(connection: AsyncConnection, found: Sequence[tuple[str, str, Sequence[Passage]]]) -> None:
    """Add the passages of jobs (id, owner, passages; the newest job first) that are older than all in the index, which
    is in the order of age: their ids go down from 0. For one caller at a time."""
    lowest = await connection.scalar(select(func.min(passages.c.id)))
    below, rows = min(0, lowest or 0), list[dict[str, str | int]]()
    for job_id, owner, of_job in found:
        below -= len(of_job)
        rows += [{"id": below + number, **passage_row(job_id, owner, one)} for number, one in enumerate(of_job)]
    if rows:
        await connection.execute(insert(passages), rows)


def passage_row(job_id: str, owner: str, passage: Passage) -> dict[str, str]:
    """Return the row of a passage."""
    return {
        "job_id": job_id,
        "text": passage.text,
        "starts": json.dumps(passage.starts),
        "tokens": f"{owner_token(owner)} {passage.tokens}",
    }


async def replace_passages(connection: AsyncConnection, job_id: str, owner: str, found: Sequence[Passage]) -> None:
    """Replace the passages of a job whose transcript has changed; those that are the same stay."""
    columns = select(passages.c.id, passages.c.text, passages.c.starts).where(passages.c.job_id == job_id)
    gone: dict[tuple[str, str], list[int]] = {}
    for row in await connection.execute(columns):
        gone.setdefault((row.text, row.starts), []).append(row.id)
    new = []
    for one in found:
        if same := gone.get((one.text, json.dumps(one.starts))):
            same.pop()
        else:
            new.append(one)
    ids = [each for same in gone.values() for each in same]
    for at in range(0, len(ids), DELETED_AT_ONCE):
        await connection.execute(delete(passages).where(passages.c.id.in_(ids[at : at + DELETED_AT_ONCE])))
    await add_passages(connection, job_id, owner, new)


async def remove_passages(connection: AsyncConnection, job_ids: Sequence[str]) -> None:
    """Remove the passages of these jobs."""
    await connection.execute(delete(passages).where(passages.c.job_id.in_(job_ids)))
