"""The jobs table under concurrent access: only allowed transitions, and no job is done twice, lost, or miscounted."""

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select, text, update

from jobs import schema
from jobs.database import Database, address, open_database
from jobs.errors import JobNotFound, KeyReused, NotPossible, Refused
from jobs.job import Job
from jobs.listing import list_jobs, numbers
from jobs.result import store_form
from jobs.schema import new_id
from jobs.states import ALLOWED, FINAL, Status
from jobs.store import MAX_INTERRUPTIONS, JobStore
from jobs.transcript_library.backlog import Backlog
from jobs.transcript_library.search import search
from pipeline.errors import ConfigError, Overloaded
from pipeline.stt import Segment
from tests.jobs.conftest import submission


async def submitted(store: JobStore, count: int = 1) -> list[Job]:
    jobs, _ = await store.submit([submission(f"{n}.wav") for n in range(count)], cached=[None] * count)
    return jobs


async def counted(database: Database) -> dict[Status, int]:
    """Count by reading every row."""
    async with database.reading() as connection:
        rows = await connection.execute(select(schema.jobs.c.status, func.count()).group_by(schema.jobs.c.status))
        found = {row[0]: row[1] for row in rows}
    return {status: found.get(status.value, 0) for status in Status}


async def test_the_migrations_match_the_schema(database: Database) -> None:
    def own(name: str | None, kind: str, parents: object) -> bool:
        """Leave out the full-text index, which only one of the databases has."""
        return not (name or "").startswith(schema.FULL_TEXT) and not (kind == "column" and name == "words")

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "include_name": own}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, schema.metadata))

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_second_start_finds_the_jobs_of_the_first(database_url: str) -> None:
    async with open_database(database_url) as database:
        [job] = await submitted(JobStore(database, max_waiting=10))
    async with open_database(database_url) as database:
        assert await JobStore(database, max_waiting=10).get(job.id) == job


async def test_several_services_can_start_at_once(database_url: str) -> None:
    async def start() -> None:
        async with open_database(database_url) as database:
            await submitted(JobStore(database, max_waiting=100))

    await asyncio.gather(*(start() for _ in range(4)))
    async with open_database(database_url) as database:
        assert (await numbers(database))[Status.QUEUED] == 4


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite:////proc/nowhere/jobs.db"])
async def test_an_unusable_database_ends_the_start_with_a_message(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_database(url):
            pass
    assert "DATABASE_URL" in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


def test_passwords_are_not_shown() -> None:
    assert "hidden" not in str(address("postgresql://user:hidden@host/name"))


async def test_a_claimed_job_is_not_claimed_again(store: JobStore) -> None:
    made = await submitted(store, 12)
    claimed = await asyncio.gather(*(store.claim() for _ in range(20)))
    ids = [job.id for job in claimed if job is not None]
    assert sorted(ids) == sorted(job.id for job in made)


async def test_first_come_first_served(store: JobStore) -> None:
    made = await submitted(store, 5)
    claimed = [await store.claim() for _ in made]
    assert [job.id for job in claimed if job] == [job.id for job in made]


async def test_a_cancelled_job_never_gets_a_result(store: JobStore) -> None:
    await submitted(store)
    job = await store.claim()
    assert job is not None
    assert (await store.cancel(job.id)).status is Status.CANCELLED
    assert not await store.complete(job, "k" * 64, "{}", 1.0)
    assert not await store.fail(job, "x", "x")
    assert not await store.again(job, "x", "x", in_s=0)
    assert not await store.release(job)
    assert not await store.update(job, progress=0.5)
    assert not await store.beat(job)
    left = await store.get(job.id)
    assert (left.status, left.result_key) == (Status.CANCELLED, None)
    assert await store.result("k" * 64) is None


async def test_a_worker_that_lost_its_lease_changes_nothing(store: JobStore) -> None:
    await submitted(store)
    first = await store.claim()
    assert first is not None
    assert [job.id for job in await store.recover()] == [first.id]
    second = await store.claim()
    assert second is not None
    assert not await store.complete(first, "k" * 64, "{}", 1.0)
    assert await store.complete(second, "k" * 64, "{}", 1.0)
    done = await store.get(first.id)
    assert (done.status, done.interruptions, done.attempts) == (Status.COMPLETED, 1, 1)


async def test_only_silent_workers_lose_their_lease(store: JobStore) -> None:
    await submitted(store)
    await store.claim()
    assert await store.recover(silent_s=30) == []


async def test_a_job_that_loses_every_worker_fails(store: JobStore) -> None:
    [job] = await submitted(store)
    async with store.database.writing() as connection:
        await connection.execute(update(schema.jobs).values(interruptions=MAX_INTERRUPTIONS))
    await store.claim()
    assert await store.recover() == []
    left = await store.get(job.id)
    assert (left.status, left.error_code) == (Status.FAILED, "worker_lost")


async def test_a_retry_waits_until_it_is_due(store: JobStore) -> None:
    [made] = await submitted(store)
    job = await store.claim()
    assert job is not None
    before = time.time()
    assert await store.again(job, "stt_failed", "no", in_s=60)
    assert await store.claim() is None
    due = await store.next_due()
    assert due is not None
    assert before + 59.9 < due < time.time() + 60.1
    assert (await store.get(made.id)).error_code == "stt_failed"


async def test_users_can_do_what_the_state_allows(store: JobStore) -> None:
    [job] = await submitted(store)
    with pytest.raises(NotPossible):
        await store.retry(job.id)
    await store.cancel(job.id)
    assert (await store.cancel(job.id)).status is Status.CANCELLED  # a second cancel changes nothing
    assert (await store.retry(job.id)).status is Status.QUEUED
    running = await store.claim()
    assert running is not None
    await store.complete(running, "k" * 64, "{}", 1.0)
    with pytest.raises(NotPossible):
        await store.cancel(job.id)
    with pytest.raises(NotPossible):
        await store.retry(job.id)
    assert await store.delete(job.id) is None
    for gone in (store.get, store.cancel, store.delete):
        with pytest.raises(JobNotFound):
            await gone(job.id)


async def test_a_running_job_is_deleted_and_its_worker_cannot_write(store: JobStore, database: Database) -> None:
    await submitted(store, 2)
    running = await store.claim()
    assert running is not None
    stopped = await store.delete(running.id)
    assert stopped is not None
    assert stopped.status is Status.CANCELLED
    assert not await store.beat(running)
    assert not await store.complete(running, "k" * 64, "{}", 1.0)
    assert await store.result("k" * 64) is None
    assert await numbers(database) == await counted(database)
    assert (await numbers(database))[Status.QUEUED] == 1


async def test_concurrent_changes_are_allowed_ones_and_counts_stay_right(store: JobStore) -> None:
    chance = random.Random(7)
    made = [job.id for job in await submitted(store, 8)]
    seen: dict[str, Status] = dict.fromkeys(made, Status.QUEUED)

    async def hand() -> None:
        for _ in range(25):
            job_id = chance.choice(made)
            try:
                match chance.randrange(6):
                    case 0:
                        await store.cancel(job_id)
                    case 1:
                        await store.retry(job_id)
                    case 2:
                        await store.recover()
                    case _:
                        if (job := await store.claim()) is not None:
                            end = chance.randrange(3)
                            if end == 0:
                                await store.complete(job, "k" * 64, "{}", 1.0)
                            elif end == 1:
                                await store.fail(job, "x", "x")
            except NotPossible:
                pass

    await asyncio.gather(*(hand() for _ in range(4)))
    assert await numbers(store.database) == await counted(store.database)
    for job_id in seen:
        job = await store.get(job_id)
        assert (job.status is Status.COMPLETED) == (job.result_key is not None)
        assert (job.status is Status.RUNNING) == (job.lease is not None)


def test_final_states_lead_only_to_a_retry() -> None:
    assert all(ALLOWED[status] <= {Status.QUEUED} for status in FINAL)
    assert not ALLOWED[Status.COMPLETED]
    assert set(ALLOWED) == set(Status)


async def test_a_hundred_identical_requests_make_one_job(store: JobStore) -> None:
    answers = await asyncio.gather(
        *(store.submit([submission(), submission("b.wav")], cached=[None, None], key="same") for _ in range(100))
    )
    assert len({tuple(job.id for job in jobs) for jobs, _ in answers}) == 1
    assert Counter(new for _, new in answers) == {True: 1, False: 99}
    assert (await numbers(store.database))[Status.QUEUED] == 2


async def test_an_idempotency_key_with_another_request_is_refused(store: JobStore) -> None:
    await store.submit([submission()], cached=[None], key="same")
    with pytest.raises(KeyReused):
        await store.submit([submission(session_id="other")], cached=[None], key="same")
    assert (await numbers(store.database))[Status.QUEUED] == 1


async def test_the_queue_is_limited(database: Database) -> None:
    store = JobStore(database, max_waiting=3)
    await submitted(store, 3)
    with pytest.raises(Overloaded):
        await submitted(store)
    assert (await counted(database))[Status.QUEUED] == 3


async def test_pages_by_cursor_and_by_number_are_the_whole_list(store: JobStore) -> None:
    made = [job.id for job in await submitted(store, 23)][::-1]
    cursor, by_cursor = None, []
    while True:
        page = await list_jobs(store.database, limit=5, cursor=cursor)
        assert page.total == 23
        by_cursor += [job.id for job in page.items]
        if (cursor := page.next_cursor) is None:
            break
    by_number = [
        job.id for number in range(1, 6) for job in (await list_jobs(store.database, limit=5, page=number)).items
    ]
    assert by_cursor == by_number == made


async def test_lists_are_filtered(store: JobStore) -> None:
    await store.submit([submission(session_id="s"), submission()], cached=[None, None])
    await store.claim()
    page = await list_jobs(store.database, statuses=[Status.RUNNING], session_id="s")
    assert [job.session_id for job in page.items] == ["s"]
    assert (await list_jobs(store.database, statuses=[Status.QUEUED])).total == 1
    assert (await list_jobs(store.database, session_id="absent")).total == 0
    for wrong in ({"limit": 0}, {"limit": 1000}, {"page": 0}, {"page": 10**9}, {"cursor": "x' OR 1=1"}):
        with pytest.raises(Refused):
            await list_jobs(store.database, **wrong)


async def test_a_list_of_several_states_is_in_order_too(store: JobStore) -> None:
    made = await store.submit([submission(session_id="s" if n % 2 else None) for n in range(12)], cached=[None] * 12)
    ids = [job.id for job in made[0]]
    for job_id in ids[3:6]:
        await store.cancel(job_id)
    for _ in range(2):
        await store.claim()
    wanted, cursor, seen = [Status.CANCELLED, Status.QUEUED, Status.CANCELLED], None, []
    while True:
        page = await list_jobs(store.database, limit=3, cursor=cursor, statuses=wanted)
        assert page.total == 10
        seen += [job.id for job in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ids[:1:-1]
    mine = await list_jobs(store.database, session_id="s", statuses=wanted)
    assert ([job.id for job in mine.items], mine.total) == (ids[11:1:-2], 5)
    assert [job.id for job in (await list_jobs(store.database, session_id="s", page=2, limit=2)).items] == ids[7:4:-2]


async def test_jobs_are_found_by_a_part_of_their_name(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Talk_1.wav", "100%.mp3", "talk 2.wav", "other", "TALK_1b"]
    submissions = [submission(name) for name in names]
    submissions.append(submission("c", sha256=None, size_bytes=None, source_url="https://example.org/talks/c"))
    made, _ = await store.submit(submissions, cached=[None] * 6)

    async def found(search: str, **wanted: object) -> list[str]:
        page = await list_jobs(store.database, search=search, **wanted)  # type: ignore[arg-type]
        return [job.filename for job in page.items]

    assert await found("talk") == ["c", "TALK_1b", "talk 2.wav", "Talk_1.wav"]
    assert await found("k_1") == ["TALK_1b", "Talk_1.wav"]
    assert await found("%") == ["100%.mp3"]
    assert await found("nothing") == []
    page = await list_jobs(store.database, search="talk", limit=2)
    assert [job.filename for job in page.items] == ["c", "TALK_1b"]
    assert await found("talk", limit=2, cursor=page.next_cursor) == ["talk 2.wav", "Talk_1.wav"]
    # A page searches a limited number of jobs. The cursor leads on, also from an empty page.
    monkeypatch.setattr("jobs.listing.SEARCHED", 2)
    page = await list_jobs(store.database, search="100%")
    assert (page.items, page.next_cursor) == ([], made[4].id)
    page = await list_jobs(store.database, search="100%", cursor=page.next_cursor)
    assert (page.items, page.next_cursor) == ([], made[2].id)
    page = await list_jobs(store.database, search="100%", cursor=page.next_cursor)
    assert [job.filename for job in page.items] == ["100%.mp3"]
    with pytest.raises(Refused):
        await list_jobs(store.database, search="x" * 201)


async def test_speaker_names_are_stored(store: JobStore) -> None:
    [job] = await submitted(store)
    assert job.speakers == {}
    named = await store.name_speakers(job.id, {"A": "Ana"})
    assert (named.speakers, named.version) == ({"A": "Ana"}, job.version + 1)
    assert (await store.get(job.id)).speakers == {"A": "Ana"}
    with pytest.raises(JobNotFound):
        await store.name_speakers("none", {})


async def test_a_database_of_the_first_version_is_migrated(database_url: str, tmp_path: Path) -> None:
    """The rows are kept."""

    def back(connection: Connection) -> None:
        for index in (
            "jobs_by_session_state",
            "jobs_by_owner",
            "jobs_by_owner_state",
            "jobs_tagged",
            "jobs_pinned",
            "jobs_in_background",
        ):
            connection.execute(text(f"DROP INDEX {index}"))
        for table in ("owner_tallies", "documents", "versions", "waveforms", "voiceprints"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN partial"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN owner"))
        connection.execute(text("ALTER TABLE results DROP COLUMN duration_s"))
        connection.execute(text("ALTER TABLE deliveries DROP COLUMN owner"))
        connection.execute(text("ALTER TABLE deliveries DROP COLUMN host"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN speakers"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN trace"))
        for column in ("tags", "pinned_at", "background"):
            connection.execute(text(f"ALTER TABLE jobs DROP COLUMN {column}"))
        if connection.dialect.name == "sqlite":
            connection.execute(text("DROP TABLE passages_words"))
        for table in ("passages", "insights", "search_backlog", "watched_files"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    async with open_database(database_url) as database:
        store = JobStore(database, max_waiting=10, webhook_url="https://hooks.example/parley")
        await store.submit([submission(webhook_url="https://[2606:4700::1]:8443/own")], cached=[None])
        job = await store.claim()
        assert job is not None
        body = store_form([Segment(3.5, 7.5, "A heron waits.")], language="en", duration_s=7.5, engine="e")
        await store.complete(job, "k" * 64, body, 7.5)
        job = await store.get(job.id)
        async with database.writing() as connection:
            await connection.run_sync(back)
    async with open_database(database_url) as database:
        store = JobStore(database, max_waiting=10)
        assert await store.get(job.id) == job
        async with database.reading() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "0011"
            hosts = (await connection.execute(text("SELECT host FROM deliveries ORDER BY url"))).scalars().all()
            assert hosts == ["2606:4700::1", "hooks.example"]
        # Jobs from before the migration get a duration, and are found by their words.
        await Backlog(database, tmp_path / "search.lock").run()
        assert [hit.job for hit in (await search(database, "heron")).items] == [job]
        [[again], _] = await store.submit([submission()], cached=["k" * 64])
        assert (again.status, again.duration_s) == (Status.COMPLETED, 7.5)


async def test_each_owner_has_separate_lists_and_counts(store: JobStore) -> None:
    owners = ["key:anna", "key:ben", "", "key:anna", "jwt:anna", "key:anna"]
    made, _ = await store.submit([submission(owner=owner, session_id="s") for owner in owners], cached=[None] * 6)
    ids = [job.id for job in made]
    await store.cancel(ids[3])
    page = await list_jobs(store.database, owner="key:anna")
    assert ([job.id for job in page.items], page.total) == ([ids[5], ids[3], ids[0]], 3)
    page = await list_jobs(store.database, owner="key:anna", statuses=[Status.CANCELLED, Status.FAILED])
    assert ([job.id for job in page.items], page.total) == ([ids[3]], 1)
    page = await list_jobs(store.database, owner="key:anna", session_id="s", statuses=[Status.QUEUED], limit=1)
    assert ([job.id for job in page.items], page.total) == ([ids[5]], 2)
    found = await list_jobs(store.database, owner="key:ben", search="a.wav")
    assert [job.id for job in found.items] == [ids[1]]
    assert (await list_jobs(store.database)).total == 6
    await store.delete(ids[3])
    assert (await numbers(store.database, "key:anna"))[Status.CANCELLED] == 0
    assert (await numbers(store.database, "key:anna"))[Status.QUEUED] == 2
    assert (await numbers(store.database, "absent"))[Status.QUEUED] == 0
    assert (await numbers(store.database))[Status.QUEUED] == 5


def test_ids_sort_by_time_also_within_a_millisecond() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(len(id_) == 32 for id_ in ids)


async def test_only_an_existing_cached_result_completes_a_job_at_once(store: JobStore) -> None:
    await submitted(store)
    job = await store.claim()
    assert job is not None
    await store.complete(job, "k" * 64, "{}", 1.5)
    made, _ = await store.submit([submission(), submission()], cached=["k" * 64, "n" * 64])
    assert [one.status for one in made] == [Status.COMPLETED, Status.QUEUED]
    assert [one.duration_s for one in made] == [1.5, None]
    assert [one.result_key for one in made] == ["k" * 64, None]
