"""Removing jobs from the database, with all that belongs to them."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import schema
from jobs.database import Database
from jobs.insights.rows import remove_insights
from jobs.schema import jobs
from jobs.states import FINAL
from jobs.transcript_library.passages import remove_passages
from jobs.transitions import count


async def remove(connection: AsyncConnection, database: Database, ids: Sequence[str]) -> int:
    """Remove those of these jobs that have ended, with their deliveries; return their number."""
    ended = [status.value for status in FINAL]
    statement = (
        delete(jobs)
        .where(jobs.c.id.in_(ids), jobs.c.status.in_(ended))
        .returning(jobs.c.id, jobs.c.owner, jobs.c.status)
    )
    rows = (await connection.execute(statement)).all()
    gone = [row.id for row in rows]
    for table in (schema.documents, schema.versions):
        await connection.execute(delete(table).where(table.c.job_id.in_(gone)))
    sent = schema.deliveries
    inside = select(sent.c.id).where(sent.c.job_id.in_(gone))
    await connection.execute(delete(schema.delivery_attempts).where(schema.delivery_attempts.c.delivery_id.in_(inside)))
    await connection.execute(delete(sent).where(sent.c.job_id.in_(gone)))
    await remove_passages(connection, gone)
    await remove_insights(connection, gone)
    tally = Counter((row.owner, row.status) for row in rows)
    await count(connection, database, Counter({which: -number for which, number in tally.items()}))
    return len(gone)
