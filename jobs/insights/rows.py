"""Insights in the database. Each method of `InsightStore` is one transaction."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.errors import JobNotFound, NotPossible
from jobs.schema import insights, jobs, new_id

MAX_OF_JOB = 100
"""Insights of one job; further ones are refused."""
MAX_WAITING = 200
"""Insights of one owner that wait; further ones are refused, except those after a transcription."""
MAX_SERVED = 10_000
"""Owners whose turns are remembered."""


@dataclass(frozen=True, slots=True)
class Insight:
    """One row of `insights`."""

    id: str
    job_id: str
    kind: str
    """One of `jobs.insights.prompts.KINDS`."""
    status: str
    """queued, running, completed, failed."""
    prompt: str
    """The user's instruction; "" for that of the kind."""
    language: str | None
    """ISO 639-1: the language to write in; None: that of the transcript."""
    question: str | None
    done: float
    """Share of the parts of the transcript that the model has read, from 0 to 1."""
    text: str | None
    model: str | None
    error_code: str | None
    error_message: str | None
    attempts: int
    created_at: float
    due_at: float
    finished_at: float | None
    lease: str | None
    heartbeat_at: float | None

    @staticmethod
    def of(row: RowMapping) -> "Insight":
        return Insight(**dict(row))


def _row(job_id: str, kind: str, prompt: str, language: str | None, question: str | None) -> dict[str, object]:
    now = time.time()
    return {
        "id": new_id(), "job_id": job_id, "kind": kind, "status": "queued", "prompt": prompt, "language": language,
        "question": question, "done": 0.0, "attempts": 0, "created_at": now, "due_at": now,
    }  # fmt: skip


async def add_insights(connection: AsyncConnection, job_id: str, kinds: Sequence[str]) -> None:
    """Queue an insight of each kind, in the transaction that completes the job."""
    if kinds:
        await connection.execute(insert(insights), [_row(job_id, kind, "", None, None) for kind in kinds])


async def remove_insights(connection: AsyncConnection, job_ids: Sequence[str]) -> None:
    """Remove the insights of these jobs."""
    await connection.execute(delete(insights).where(insights.c.job_id.in_(job_ids)))


def _queued(*columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .select_from(insights.join(jobs, jobs.c.id == insights.c.job_id))
        .where(insights.c.status == "queued")
    )


class InsightStore:
    """The insights of one deployment."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._served: dict[str, None] = {}
        """Owners in the order in which this process served them last."""

    async def create(
        self, job_id: str, kind: str, *, prompt: str = "", language: str | None = None, question: str | None = None
    ) -> Insight:
        """Queue an insight. Raises JobNotFound, NotPossible if the job or its owner has too many."""
        row = _row(job_id, kind, prompt, language, question)
        async with self._database.writing() as connection:
            owner = await connection.scalar(select(jobs.c.owner).where(jobs.c.id == job_id).with_for_update())
            if owner is None:  # removed meanwhile
                raise JobNotFound("There is no job of this id.")
            made = await connection.scalar(
                select(func.count()).select_from(insights).where(insights.c.job_id == job_id)
            )
            if (made or 0) >= MAX_OF_JOB:
                raise NotPossible(f"A job has at most {MAX_OF_JOB} insights; delete some.", code="too_many_insights")
            of_owner = _queued(func.count()).where(jobs.c.owner == owner)
            if (await connection.scalar(of_owner) or 0) >= MAX_WAITING:
                text = f"An owner has at most {MAX_WAITING} insights that wait; retry later."
                raise NotPossible(text, code="too_many_insights")
            created = await connection.execute(insert(insights).values(row).returning(*insights.c))
            return Insight.of(created.mappings().one())

    async def of_job(self, job_id: str) -> list[Insight]:
        """Return the insights of a job, the oldest first."""
        wanted = select(insights).where(insights.c.job_id == job_id).order_by(insights.c.id)
        async with self._database.reading() as connection:
            return [Insight.of(row) for row in (await connection.execute(wanted)).mappings()]

    async def remove(self, job_id: str, insight_id: str) -> None:
        """Remove an insight in any state. Raises JobNotFound."""
        which = (insights.c.job_id == job_id, insights.c.id == insight_id)
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(insights).where(*which))
        if not gone.rowcount:
            raise JobNotFound("There is no insight of this id.")

    async def next_due(self) -> float | None:
        """Return when the next queued insight is due, or None."""
        async with self._database.reading() as connection:
            due: float | None = await connection.scalar(
                select(func.min(insights.c.due_at)).where(insights.c.status == "queued")
            )
            return due

    async def claim(self) -> Insight | None:
        """Claim the insight that is due longest, of the owner who was served longest ago. Return it running, with a
        lease, or None."""
        now = time.time()
        owners = _queued(jobs.c.owner).where(insights.c.due_at <= now).group_by(jobs.c.owner)
        wanted = _queued(insights.c.id).where(insights.c.due_at <= now).order_by(insights.c.due_at).limit(1)
        begun = {
            "status": "running", "lease": secrets.token_hex(16), "heartbeat_at": now, "done": 0.0,
            "attempts": insights.c.attempts + 1, "error_code": None, "error_message": None,
        }  # fmt: skip
        async with self._database.writing() as connection:
            due = (await connection.scalars(owners.order_by(func.min(insights.c.due_at)))).all()
            order = {owner: place for place, owner in enumerate(self._served)}
            for owner in sorted(due, key=lambda one: order.get(one, -1)):
                of_owner = wanted.where(jobs.c.owner == owner).with_for_update(skip_locked=True, of=insights)
                if (found := await connection.scalar(of_owner)) is not None:
                    break
            else:
                return None
            claimed = await connection.execute(
                update(insights).where(insights.c.id == found).values(begun).returning(*insights.c)
            )
            begins = Insight.of(claimed.mappings().one())
        self._served.pop(owner, None)
        self._served[owner] = None
        if len(self._served) > MAX_SERVED:
            del self._served[next(iter(self._served))]
        return begins

    async def change(self, insight: Insight, **values: object) -> bool:
        """Change an insight that the caller writes, and renew its heartbeat; return False if the lease is lost."""
        mine = (insights.c.id == insight.id, insights.c.lease == insight.lease, insights.c.status == "running")
        async with self._database.writing() as connection:
            done = await connection.execute(update(insights).where(*mine).values(heartbeat_at=time.time(), **values))
        return bool(done.rowcount)

    async def finish(self, insight: Insight, text: str, model: str) -> bool:
        """Store the text; return False if the lease is lost."""
        now = time.time()
        return await self.change(insight, status="completed", done=1.0, text=text, model=model, finished_at=now)

    async def fail(self, insight: Insight, code: str, message: str) -> bool:
        """End with an error; return False if the lease is lost."""
        values = {"error_code": code, "error_message": message, "finished_at": time.time()}
        return await self.change(insight, status="failed", **values)

    async def again(self, insight: Insight, code: str, message: str, *, in_s: float, counted: bool = True) -> bool:
        """Queue for a retry; return False if the lease is lost. counted: whether this attempt counts."""
        values: dict[str, object] = {"error_code": code, "error_message": message, "due_at": time.time() + in_s}
        if not counted:
            values["attempts"] = insights.c.attempts - 1
        return await self.change(insight, status="queued", **values)

    async def release(self, insight: Insight) -> bool:
        """Queue again, because the service stops. The attempt does not count."""
        return await self.change(insight, status="queued", attempts=insights.c.attempts - 1)

    async def recover(self, silent_s: float, *, most: int) -> int:
        """Queue insights again whose writers have been silent for this long; return their number. Those with `most`
        attempts fail, because they can be the cause."""
        now = time.time()
        lost = (insights.c.status == "running", insights.c.heartbeat_at <= now - silent_s)
        failed = {
            "status": "failed", "error_code": "interrupted", "finished_at": now,
            "error_message": f"The service ended {most} times while this was written.",
        }  # fmt: skip
        async with self._database.writing() as connection:
            ended = update(insights).where(*lost, insights.c.attempts >= most).values(failed)
            gone = await connection.execute(ended)
            done = await connection.execute(update(insights).where(*lost).values(status="queued"))
        return int(done.rowcount + gone.rowcount)
