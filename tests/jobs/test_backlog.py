"""Databases from before the search: their transcripts are added beside the running service, in both databases."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, func, insert, select, update

from jobs import database as database_module
from jobs import schema
from jobs.database import Database, address, open_database
from jobs.documents import Documents
from jobs.editing import SetText
from jobs.result import store_form
from jobs.schema import passages
from jobs.store import JobStore
from jobs.transcript_library import backlog as module
from jobs.transcript_library.backlog import Backlog
from jobs.transcript_library.search import search
from pipeline.stt import Segment
from tests.jobs.test_library import found, transcribed

OF_0007 = {one.name for one in schema.jobs.columns} - {"tags", "pinned_at", "background"}


def job_id(number: int) -> str:
    return f"{number:032x}"


def body(*texts: str) -> str:
    segments = [Segment(10.0 * number, 10.0 * number + 9, text) for number, text in enumerate(texts)]
    return store_form(segments, language="en", duration_s=10.0, engine="e")


def earlier(database_url: str, texts: Sequence[str], *, edited: dict[int, str] | None = None) -> None:
    """Create a database as the version before the search made it, with a completed job of each text."""

    def row(number: int) -> dict[str, Any]:
        known = {
            "id": job_id(number), "status": "completed", "version": 3, "created_at": 1.0 + number, "updated_at": 1.0,
            "due_at": 1.0, "filename": f"{number}.wav", "options": "{}", "owner": "key:anna", "progress": 1.0,
            "done_s": 10.0, "attempts": 1, "interruptions": 0, "result_key": f"{number:064x}",
        }  # fmt: skip
        return {name: known.get(name) for name in OF_0007}

    def fill(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        for number, text in enumerate(texts):
            connection.execute(insert(schema.jobs).values(row(number)))
            result = {"key": f"{number:064x}", "body": body(text), "duration_s": 10.0, "used_at": 1.0}
            connection.execute(insert(schema.results).values(result))
        for number, text in (edited or {}).items():
            told = json.dumps({**json.loads(body(text)), "version": 1})
            document = {"job_id": job_id(number), "version": 1, "body": told, "updated_at": 1.0}
            connection.execute(insert(schema.documents).values(document))

    url = address(database_url)
    sync = url.set(drivername="sqlite") if url.get_backend_name() == "sqlite" else url
    engine = create_engine(sync)
    with engine.begin() as connection:
        fill(connection)
    engine.dispose()


async def left(database: Database) -> tuple[int, int] | None:
    async with database.reading() as connection:
        row = (await connection.execute(select(schema.search_backlog.c.done, schema.search_backlog.c.total))).first()
    return None if row is None else (row.done, row.total)


async def test_older_transcripts_are_added_beside_the_service_newest_first(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_JOBS", 3)
    texts = ["A heron waits.", "A penguin.", "The heron flies.", "", "A heron sleeps."]
    earlier(database_url, texts, edited={0: "A heron stands."})
    ids = [job_id(number) for number in range(5)]
    async with open_database(database_url) as database:
        assert await left(database) == (0, 5)
        store, kept = JobStore(database, max_waiting=10), Documents(JobStore(database, max_waiting=10))
        assert (await search(database, "heron")).indexed == 0.0
        new = await transcribed(store, "A new heron.", owner="key:anna")
        # Edited before its turn: the edit indexes it, and the batch leaves it alone.
        await kept.edit(await store.get(ids[2]), 0, [SetText("text", 0, "The heron lands.")], author="")
        first = Backlog(database, tmp_path / "lock")
        assert await first.step()
        hits = await search(database, "heron", owner="key:anna")
        assert (hits.indexed, {hit.job.id for hit in hits.items}) == (pytest.approx(3 / 5), {new.id, ids[2], ids[4]})
    async with open_database(database_url) as database:  # a restart in between
        store = JobStore(database, max_waiting=10)
        again = Backlog(database, tmp_path / "lock")
        assert await left(database) == (3, 5)
        await asyncio.gather(again.run(), Backlog(database, tmp_path / "other-lock").run())
        assert await left(database) is None
        assert await found(store, "heron", "key:anna") == [ids[2], new.id, ids[4], ids[0]]
        assert await found(store, "stands") == [ids[0]], "the edited transcript"
        assert await found(store, "waits") == []
        assert await found(store, "heron", "key:ben") == []
        async with database.reading() as connection:
            assert await connection.scalar(select(func.count()).select_from(passages)) == 5, "none twice"
        seen, cursor = [], None
        while True:  # the ids of older passages are negative
            page = await search(database, "heron", limit=1, cursor=cursor)
            seen += [hit.job.id for hit in page.items]
            if (cursor := page.next_cursor) is None:
                break
        assert seen == [ids[2], new.id, ids[4], ids[0]]
        await store.delete(ids[4])
        assert ids[4] not in await found(store, "heron")


async def test_a_batch_adds_nothing_when_another_process_was_quicker(database_url: str, tmp_path: Path) -> None:
    earlier(database_url, ["A heron waits.", "A heron flies."])
    async with open_database(database_url) as database:
        slow = Backlog(database, tmp_path / "lock")
        made = [await slow._read(job_id(1), "key:anna", f"{1:064x}")]
        assert await Backlog(database, tmp_path / "lock").step()
        await slow._add("g", job_id(1), 1, made)
        async with database.reading() as connection:
            assert await connection.scalar(select(func.count()).select_from(passages)) == 2
        assert await left(database) == (2, 2)


async def test_a_transcript_that_changes_during_its_batch_is_left_alone(database_url: str, tmp_path: Path) -> None:
    earlier(database_url, ["A heron waits.", "A heron flies.", "A heron sleeps."])
    async with open_database(database_url) as database:
        store, adding = JobStore(database, max_waiting=10), Backlog(database, tmp_path / "lock")
        made = [await adding._read(job_id(n), "key:anna", f"{n:064x}") for n in (2, 1, 0)]
        await Documents(store).edit(await store.get(job_id(2)), 0, [SetText("text", 0, "")], author="")
        async with database.writing() as connection:  # deleted by an earlier version, which still runs
            await connection.execute(update(schema.jobs).where(schema.jobs.c.id == job_id(1)).values(id="gone"))
        await adding._add("g", job_id(0), 3, made)
        assert await found(store, "heron") == [job_id(0)]


async def test_a_database_without_transcripts_has_nothing_to_add(database_url: str, tmp_path: Path) -> None:
    earlier(database_url, [])
    async with open_database(database_url) as database:
        assert await left(database) is None
        await Backlog(database, tmp_path / "lock").run()
        assert (await search(database, "heron")).indexed is None
