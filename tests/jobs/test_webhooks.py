"""Webhooks are signed, retried until a receiver accepts them, and recorded."""

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook

from jobs import schema
from jobs import webhooks as sending
from jobs.database import Database
from jobs.lanes import MOST_OF_ONE
from jobs.outbox import Attempt, Delivery, Outbox
from jobs.store import JobStore
from jobs.webhooks import DAY_S, Webhooks, retry_after_s, secret_of, signer
from pipeline.errors import ConfigError
from pipeline.settings import Settings
from tests.jobs.conftest import submission
from tests.servers import web as servers
from tests.servers.hostile import hostile, sends, silent
from tests.servers.running import closed_port
from tests.servers.web import Web
from tests.waiting import eventually

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
WAIT_S = 60.0
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""Marks the tests of rules of delivery, which need no second kind of database."""


@pytest.fixture
def web() -> Iterator[Web]:
    with servers.serving() as running:
        yield running


@asynccontextmanager
async def delivering(database: Database, retry_s: float = 0.05, **settings: Any) -> AsyncIterator[Outbox]:
    outbox = Outbox(database)

    async def describe(job_id: str) -> dict[str, Any]:
        return {"job_id": job_id, "text": "olá"}

    values: dict[str, Any] = {"url_allow": "127.0.0.1", "webhook_retry_s": 0.05} | settings
    wanted = Settings(**values)
    webhooks = Webhooks(outbox, wanted, SECRET, describe)
    task = asyncio.create_task(webhooks.run())
    # Signal the job's end as the service does, so that the outbox does not wait for its next check.
    told = asyncio.create_task(_tell(webhooks))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sending, "RETRY_S", retry_s)
            yield outbox
    finally:
        for one in (task, told):
            one.cancel()
        await asyncio.wait([task, told])


async def _tell(webhooks: Webhooks) -> None:
    while True:
        await asyncio.sleep(0.1)
        webhooks.added.tell()


async def ended(store: JobStore, url: str) -> str:
    """A job that has ended and has a webhook."""
    [job], _ = await store.submit([submission(webhook_url=url)], cached=[None])
    await store.cancel(job.id)
    return job.id


@dataclass(frozen=True, slots=True)
class Told:
    """The only delivery of a job."""

    delivery: Delivery
    attempts: list[Attempt]

    @property
    def statuses(self) -> list[int | None]:
        return [attempt.http_status for attempt in self.attempts]


async def told(outbox: Outbox, job_id: str) -> Told:
    [found] = await outbox.of_job(job_id)
    return Told(*found)


async def settled(outbox: Outbox, job_id: str, *statuses: str) -> Told:
    """Wait until the delivery has ended."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        delivery = await told(outbox, job_id)
        if delivery.delivery.status in (statuses or ("delivered", "failed", "disabled")):
            return delivery
        await asyncio.sleep(0.05)
    raise AssertionError(delivery)


async def attempted(outbox: Outbox, job_id: str) -> None:
    """Wait until the first attempt has been made."""
    async with asyncio.timeout(WAIT_S):
        while not (await told(outbox, job_id)).attempts:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_signatures_follow_the_standard_webhooks_specification(store: JobStore, web: Web) -> None:
    async with delivering(store.database) as outbox:
        job_id = await ended(store, f"{web.address}/hook")
        delivery = await settled(outbox, job_id)
    [request] = web.seen
    told = Webhook(SECRET).verify(request.body, request.headers)
    assert told["type"] == "transcription.cancelled"
    assert told["data"] == {"job_id": job_id, "text": "olá", "status": "cancelled"}
    assert request.headers["webhook-id"] == delivery.delivery.id
    assert delivery.statuses == [204]


async def test_a_receiver_that_fails_five_times_gets_the_same_id(store: JobStore, web: Web) -> None:
    web.statuses = [500, 503, 302, 404, 429]
    async with delivering(store.database, retry_s=0.01) as outbox:
        delivery = await settled(outbox, await ended(store, f"{web.address}/hook"))
    assert delivery.delivery.status == "delivered"
    assert delivery.statuses == [500, 503, 302, 404, 429, 204]
    assert {seen.headers["webhook-id"] for seen in web.seen} == {delivery.delivery.id}
    assert {seen.path for seen in web.seen} == {"/hook"}  # a redirect is a failure, and not followed


@on_sqlite
async def test_retry_after_is_obeyed(store: JobStore, web: Web) -> None:
    web.statuses, web.headers = [503], {"Retry-After": "2"}
    async with delivering(store.database) as outbox:
        delivery = await settled(outbox, await ended(store, f"{web.address}/hook"))
    first, second = (attempt.at for attempt in delivery.attempts)
    assert second - first > 1.9


async def test_status_410_disables_the_url(store: JobStore, web: Web) -> None:
    web.statuses = [410]
    async with delivering(store.database) as outbox:
        first = await ended(store, f"{web.address}/hook")
        assert (await settled(outbox, first)).delivery.status == "disabled"
        second = await ended(store, f"{web.address}/hook")
        assert (await settled(outbox, second)).delivery.status == "disabled"
        assert len(web.seen) == 1
        await outbox.redeliver(first, (await told(outbox, first)).delivery.id)
        delivery = await settled(outbox, first, "delivered")
    assert delivery.statuses == [410, 204]


async def test_undelivered_webhooks_are_delivered_after_a_restart(store: JobStore) -> None:
    port = closed_port()
    async with delivering(store.database, retry_s=0.5) as outbox:  # few attempts, because each triples the delay
        job_id = await ended(store, f"http://127.0.0.1:{port}/hook")
        await attempted(outbox, job_id)
    with servers.serving(port=port) as web:
        async with delivering(store.database) as outbox:
            delivery = await settled(outbox, job_id)
    assert delivery.delivery.status == "delivered"
    assert "Connect" in str(delivery.attempts[0].error)
    assert [seen.headers["webhook-id"] for seen in web.seen] == [delivery.delivery.id]


@on_sqlite
async def test_a_hanging_receiver_delays_no_other(store: JobStore, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.webhooks.DEADLINE_S", 1.0)
    with servers.serving() as slow:
        slow.hang = threading.Event()
        async with delivering(store.database) as outbox:
            waiting = await ended(store, f"{slow.address}/hook")
            quick = await ended(store, f"{web.address}/hook")
            assert (await settled(outbox, quick)).delivery.status == "delivered"
            await attempted(outbox, waiting)
            slow.hang.set()
            assert (await settled(outbox, waiting)).delivery.status == "delivered"


async def submitted(store: JobStore, owner: str, urls: list[str]) -> list[str]:
    """Jobs of one caller that have ended, as of one ZIP."""
    wanted = [submission(webhook_url=url, owner=owner) for url in urls]
    jobs, _ = await store.submit(wanted, cached=[None] * len(wanted))
    for job in jobs:
        await store.cancel(job.id)
    return [job.id for job in jobs]


@on_sqlite
async def test_dead_receivers_of_one_owner_delay_no_other_owner(store: JobStore, web: Web) -> None:
    """A ZIP of 60 files whose webhook receivers never respond, on hosts of all kinds."""
    async with AsyncExitStack() as stack:
        dead = [await stack.enter_async_context(hostile(silent, f"127.0.1.{n}")) for n in range(1, 6)]
        outbox = await stack.enter_async_context(delivering(store.database, url_allow="127.0.0.0/8"))
        urls = [f"{dead[n % 5].address}/{n}" for n in range(60)]
        stuck = await submitted(store, "key:ben", urls)
        await eventually(lambda: sum(one.open for one in dead) == MOST_OF_ONE)
        for path in range(3):
            [job_id] = await submitted(store, "key:anna", [f"{web.address}/{path}"])
            assert (await settled(outbox, job_id)).delivery.status == "delivered"
        # All of these arrive while the first attempts at the dead receivers are still pending.
        assert sum(one.most_open for one in dead) == MOST_OF_ONE
        assert not any([(await told(outbox, job_id)).attempts for job_id in stuck[:10]])


@on_sqlite
async def test_a_host_has_two_deliveries_at_a_time(store: JobStore, web: Web) -> None:
    """The limit also holds without keys, when all callers look the same."""
    async with hostile(silent, "127.0.1.1") as dead, delivering(store.database, url_allow="127.0.0.0/8") as outbox:
        await submitted(store, "", [f"{dead.address}/{n}" for n in range(100)])
        await eventually(lambda: dead.open == MOST_OF_ONE)
        [job_id] = await submitted(store, "", [f"{web.address}/hook"])
        assert (await settled(outbox, job_id)).delivery.status == "delivered"
        assert dead.most_open == MOST_OF_ONE


UNSENDABLE = [
    "http://xn--a.example/", "http://a..b/", "http://[::1", "", "nonsense", "http://127.0.0.1:99999/", "http://\x7f/",
    "http://" + "a" * 70 + ".example/", "http://127.0.0.1:0/", "http://" + "x" * 9000, "file:///etc/passwd",
]  # fmt: skip
"""Values that a row can have from before URLs were checked strictly."""


async def test_invalid_rows_are_recorded_and_stop_no_other_delivery(store: JobStore, web: Web) -> None:
    ids = await submitted(store, "key:ben", UNSENDABLE)
    job_id = await ended(store, f"{web.address}/hook")
    async with store.database.writing() as connection:
        strange = update(schema.deliveries).where(schema.deliveries.c.job_id == ids[-1])
        await connection.execute(strange.values(created_at=1e300, attempts=100_000, event=""))
    async with delivering(store.database) as outbox:
        assert (await settled(outbox, job_id)).delivery.status == "delivered"
        for one in ids:
            if await outbox.of_job(one):  # an empty URL is not a webhook
                await attempted(outbox, one)
                delivery = await told(outbox, one)
                assert delivery.attempts[0].error
                assert delivery.attempts[0].http_status is None
                assert delivery.delivery.status == "pending"


HOSTILE_ANSWERS = {
    "100 Continue": [b"HTTP/1.1 100 Continue\r\n\r\n" * 200_000],
    "a header": [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000],
    "garbage": [b"\x00\xff" * 500],
    "nothing": [b""],
    "a status": [b"HTTP/1.1 99999 OK\r\n\r\n"],
}


@pytest.mark.parametrize("kind", HOSTILE_ANSWERS)
@on_sqlite
async def test_hostile_responses_are_recorded(store: JobStore, web: Web, kind: str) -> None:
    async with hostile(sends(*HOSTILE_ANSWERS[kind])) as receiver, delivering(store.database) as outbox:
        job_id = await ended(store, f"{receiver.address}/hook")
        await attempted(outbox, job_id)
        delivery = await told(outbox, job_id)
        assert "connection to the server failed" in str(delivery.attempts[0].error)
        assert delivery.delivery.status == "pending"


@pytest.mark.parametrize("wanted", ["Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "9" * 5000, "1e999", "-1e999"])
@on_sqlite
async def test_any_retry_after_is_handled(store: JobStore, web: Web, wanted: str) -> None:
    web.statuses, web.headers = [503], {"Retry-After": wanted}
    async with delivering(store.database) as outbox:
        job_id = await ended(store, f"{web.address}/hook")
        await attempted(outbox, job_id)
        delivery = await told(outbox, job_id)
        assert (delivery.attempts[0].http_status, delivery.attempts[0].error) == (503, None)


@on_sqlite
async def test_a_slow_receiver_gets_the_webhook_in_the_end(store: JobStore) -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 204 OK\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with hostile(slow) as receiver, delivering(store.database) as outbox:
        delivery = await settled(outbox, await ended(store, f"{receiver.address}/hook"))
    assert delivery.statuses == [204]


@on_sqlite
async def test_a_webhook_cannot_reach_internal_addresses(store: JobStore) -> None:
    with servers.serving("127.0.0.2") as inside:
        async with delivering(store.database) as outbox:
            job_id = await ended(store, f"{inside.address}/hook")
            await attempted(outbox, job_id)
            delivery = await told(outbox, job_id)
        assert "Only public addresses" in str(delivery.attempts[0].error)
        assert inside.seen == []


@on_sqlite
async def test_delivery_is_given_up_after_a_day(store: JobStore, web: Web) -> None:
    web.statuses = [500, 500]
    job_id = await ended(store, f"{web.address}/hook")
    async with store.database.writing() as connection:
        await connection.execute(update(schema.deliveries).values(since=time.time() - DAY_S))
    async with delivering(store.database) as outbox:
        assert (await settled(outbox, job_id)).delivery.status == "failed"


def test_delays_grow_to_hours_within_a_day() -> None:
    webhooks = Webhooks(None, Settings(), SECRET, None)  # type: ignore[arg-type]
    now, waits = time.time(), []
    for attempts in range(12):
        delivery = Delivery("m", "j", "http://x", "e", "pending", attempts, now, now, now)
        status, due_at = webhooks._outcome(delivery, 500, 0.0)
        assert status == "pending"
        waits.append(due_at - now)
    assert waits[0] < 10
    assert 3 * 3600 < waits[-1] < 5 * 3600


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("7", 7),
        ("-1", 0),
        ("nan", 0),
        ("1e9", DAY_S),
        ("soon", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", 0),
        ("inf", DAY_S),
        ("9" * 1000, DAY_S),
        ("", 0),
    ],
)
def test_every_form_of_retry_after_is_understood(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    settings = Settings(upload_dir=tmp_path)
    secret = secret_of(settings)
    assert secret == secret_of(settings)
    assert (tmp_path / "webhook-secret").stat().st_mode & 0o077 == 0
    assert signer(secret)
    with pytest.raises(ConfigError):
        signer("whsec_")
