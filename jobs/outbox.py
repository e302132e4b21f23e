"""The outbox in the database: deliveries to webhooks, and the outcome of each attempt."""

import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, update

from jobs.database import Database
from jobs.errors import JobNotFound
from jobs.lanes import MOST, Lanes
from jobs.schema import deliveries, delivery_attempts, silenced

CLAIM_S = 120.0
"""Seconds for which a process holds a delivery; afterwards the process counts as gone."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one URL."""

    id: str
    """`webhook-id`, the same for all attempts."""
    job_id: str
    url: str
    event: str
    status: str
    """pending, delivered, failed (given up), disabled (the URL returned 410)."""
    attempts: int
    due_at: float
    created_at: float
    since: float
    """Time of the last restart; retries continue for a day from here."""
    owner: str = ""
    """Owner of the webhook's job; "" without keys, and for the deployment's own webhook."""
    host: str = ""
    """Host of the URL, as `Lanes` counts it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery."""

    at: float
    took_ms: int
    http_status: int | None
    """None: there was no response."""
    error: str | None


class Outbox:
    """The deliveries of one deployment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, lanes: Lanes) -> list[Delivery]:
        """Return due deliveries, each with a slot taken, which the caller holds for CLAIM_S. The caller releases the
        slots."""
        now = time.time()
        chosen = await self._choose(lanes, now)
        if not chosen:  # the usual case, without a write lock
            return []
        found: list[Delivery] = []
        try:
            async with self._database.writing() as connection:
                taken = update(deliveries).where(deliveries.c.id.in_(chosen), *_due(now))
                rows = await connection.execute(taken.values(due_at=now + CLAIM_S).returning(*deliveries.c))
                found = [Delivery(**row) for row in rows.mappings()]
        finally:
            for id_ in chosen.keys() - {one.id for one in found}:  # another process was faster
                lanes.leave(*chosen[id_])
        return found

    async def _choose(self, lanes: Lanes, now: float) -> dict[str, tuple[str, str]]:
        """Return owner and host by ID, the longest overdue first. The database filters out deliveries without a free
        slot, so that any number of them cannot hide the others."""
        chosen: dict[str, tuple[str, str]] = {}
        columns = (deliveries.c.id, deliveries.c.owner, deliveries.c.host)
        async with self._database.reading() as connection:
            while lanes.free:
                wanted = (*_due(now), *_with_a_place(lanes), deliveries.c.id.not_in(list(chosen)))
                oldest = select(*columns).where(*wanted).order_by(deliveries.c.due_at).limit(MOST)
                rows = (await connection.execute(oldest)).all()
                for row in rows:
                    if lanes.enter(row.owner, row.host):
                        chosen[row.id] = (row.owner, row.host)
                if len(rows) < MOST:
                    break
        return chosen

    async def next_due(self, lanes: Lanes) -> float | None:
        """Return when the next delivery with a free slot is due, or None if none is pending."""
        if not lanes.free:
            return None
        async with self._database.reading() as connection:
            due: float | None = await connection.scalar(
                select(func.min(deliveries.c.due_at)).where(deliveries.c.status == "pending", *_with_a_place(lanes))
            )
            return due

    async def record(
        self,
        delivery: Delivery,
        *,
        took_ms: int,
        status: str,
        http_status: int | None = None,
        error: str | None = None,
        due_at: float = 0.0,
    ) -> None:
        """Record an attempt and its consequences."""
        now = time.time()
        row = {"delivery_id": delivery.id, "at": now, "took_ms": took_ms, "http_status": http_status, "error": error}
        async with self._database.writing() as connection:
            await connection.execute(delivery_attempts.insert().values(row))
            values = {"status": status, "attempts": deliveries.c.attempts + 1, "due_at": due_at}
            await connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(values))
            if status == "disabled":
                statement = self._database.insert(silenced).values(url=delivery.url, since=now)
                await connection.execute(statement.on_conflict_do_nothing())
                rest = update(deliveries).where(deliveries.c.url == delivery.url, deliveries.c.status == "pending")
                await connection.execute(rest.values(status="disabled"))

    async def is_silenced(self, url: str) -> bool:
        """Whether this URL has returned 410."""
        async with self._database.reading() as connection:
            return bool((await connection.scalars(select(silenced.c.url).where(silenced.c.url == url))).all())

    async def redeliver(self, job_id: str, delivery_id: str) -> None:
        """Restart a delivery, even to a URL that was given up. Raises JobNotFound."""
        now = time.time()
        async with self._database.writing() as connection:
            which = (deliveries.c.id == delivery_id, deliveries.c.job_id == job_id)
            values = {"status": "pending", "due_at": now, "since": now}
            found = await connection.execute(
                update(deliveries).where(*which).values(values).returning(deliveries.c.url)
            )
            row = found.first()
            if row is None:
                raise JobNotFound("This job does not have a delivery with this ID.")
            await connection.execute(silenced.delete().where(silenced.c.url == row.url))

    async def of_job(self, job_id: str) -> list[tuple[Delivery, list[Attempt]]]:
        """Return the deliveries of a job, each with its attempts, oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(deliveries).where(deliveries.c.job_id == job_id).order_by(deliveries.c.created_at)
            )
            found = [Delivery(**row) for row in rows.mappings()]
            tried = select(delivery_attempts).where(delivery_attempts.c.delivery_id.in_([one.id for one in found]))
            attempts: dict[str, list[Attempt]] = {}
            for row in await connection.execute(tried.order_by(delivery_attempts.c.id)):
                one = Attempt(row.at, row.took_ms, row.http_status, row.error)
                attempts.setdefault(row.delivery_id, []).append(one)
        return [(delivery, attempts.get(delivery.id, [])) for delivery in found]


def _due(now: float) -> tuple[ColumnElement[bool], ...]:
    return deliveries.c.status == "pending", deliveries.c.due_at <= now


def _with_a_place(lanes: Lanes) -> tuple[ColumnElement[bool], ...]:
    return deliveries.c.owner.not_in(lanes.full_owners), deliveries.c.host.not_in(lanes.full_hosts)
