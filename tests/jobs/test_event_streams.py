"""Many watchers of jobs: one query serves all of them, and their number is limited."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, event

from jobs.change_signal import Notices
from jobs.database import Database
from jobs.job import Job
from jobs.store import JobStore
from jobs.watching import Watching
from tests.in_process import in_process
from tests.jobs.conftest import recording, submission
from tests.server_process import constants
from tests.waiting import until

WATCHERS = 100


async def test_many_watchers_share_one_query(database: Database, store: JobStore) -> None:
    made, _ = await store.submit([submission(f"{n}.wav") for n in range(20)], cached=[None] * 20)
    notices = Notices()
    watching = Watching(store, notices)
    seen: dict[str, list[Job]] = {job.id: [] for job in made}
    statements: list[str] = []
    all_seen = asyncio.Event()

    async def watch(job_id: str) -> None:
        async with aclosing(watching.watch(job_id, silent_s=600.0)) as changes:
            async for job in changes:
                assert job is not None
                seen[job_id].append(job)
                if sum(map(len, seen.values())) >= WATCHERS:
                    all_seen.set()

    watchers = [asyncio.create_task(watch(made[number % 20].id)) for number in range(WATCHERS)]
    looking = asyncio.create_task(watching.run())
    await all_seen.wait()
    await asyncio.sleep(1.5)  # the first query's findings are sent once

    @event.listens_for(database._engine.sync_engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *others: object) -> None:
        statements.append(statement)

    await asyncio.sleep(2.5)
    looks = [one for one in statements if "FROM jobs" in one]
    assert 1 <= len(looks) <= 3, looks
    # Cancelled as if by another process, which does not signal the change.
    await store.cancel(made[0].id)
    await asyncio.wait(watchers[::20])
    assert [job.status.value for job in seen[made[0].id][-WATCHERS // 20 :]] == ["cancelled"] * (WATCHERS // 20)
    watching.stop()
    await asyncio.gather(*watchers)
    looking.cancel()


@pytest.mark.parametrize("keys", ["", "secret-one-of-many-characters"])
def test_event_streams_are_limited(tmp_path: Path, keys: str) -> None:
    """503 when all slots are taken, 429 when one caller has half of them. A closed stream frees its slot."""
    limits = {**constants({"server.access.budgets:EVENT_STREAMS": 4}), "JOB_WORKERS": "0", "API_KEYS": keys}
    headers = {"Authorization": f"Bearer {keys}"} if keys else {}
    with (
        in_process(tmp_path, **limits) as service,
        httpx.Client(base_url=service.url, headers=headers, timeout=60) as client,
    ):
        ids = [
            job["job_id"]
            for _ in range(2)
            for job in client.post("/jobs", files={"files": recording(0)}).raise_for_status().json()["jobs"]
        ]
        address = f"/jobs/{ids[-1]}/events"
        most, status = (2, 429) if keys else (4, 503)
        streams = [client.stream("GET", address) for _ in range(most)]
        assert [stream.__enter__().status_code for stream in streams] == [200] * most
        refused = client.get(address)
        assert (refused.status_code, refused.headers["Retry-After"]) == (status, "5")
        assert client.get("/health").status_code == 200
        streams[0].__exit__(None, None, None)

        def let_in() -> bool:
            with client.stream("GET", address) as answer:
                return answer.status_code == 200

        until(let_in)
        for stream in streams[1:]:
            stream.__exit__(None, None, None)
        for job_id in ids:
            client.delete(f"/jobs/{job_id}")


def test_an_event_stream_reads_its_job_once_when_it_opens(tmp_path: Path) -> None:
    reads: list[str] = []

    def note(connection: object, cursor: object, statement: str, *others: object) -> None:
        if "jobs.owner" in statement and "WHERE jobs.id = " in statement:
            reads.append(statement)

    with in_process(tmp_path, JOB_WORKERS="0") as service, httpx.Client(base_url=service.url, timeout=60) as client:
        made = client.post("/jobs", files={"files": recording(0)}).raise_for_status().json()["jobs"]
        event.listen(Engine, "before_cursor_execute", note)
        try:
            with client.stream("GET", f"/jobs/{made[0]['job_id']}/events") as answer:
                assert next(answer.iter_lines()) == "event: progress"
            assert client.get("/jobs/none/events").status_code == 404
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        assert len(reads) == 2
