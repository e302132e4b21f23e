"""The library on both databases: search that follows the jobs, tags, pins, and what the janitor keeps."""

import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from jobs.database import Database
from jobs.files import FileStore
from jobs.janitor import Janitor
from jobs.job import Job
from jobs.listing import list_jobs, tags_of
from jobs.result import store_form
from jobs.schema import jobs, passages, results
from jobs.store import JobStore
from jobs.transcript_library.passages import LONGEST, passages_of
from jobs.transcript_library.search import search
from pipeline.settings import Settings
from pipeline.stt import Segment
from tests.jobs.conftest import submission

KEY = "k" * 64


async def transcribed(store: JobStore, *texts: str, key: str = KEY, owner: str = "", name: str = "a.wav") -> Job:
    """Complete a job whose segments, of ten seconds each, have these texts."""
    await store.submit([submission(name, owner=owner)], cached=[None])
    job = await store.claim()
    assert job is not None
    segments = [Segment(10.0 * number, 10.0 * number + 9, text) for number, text in enumerate(texts)]
    body = store_form(segments, language="en", duration_s=10.0 * len(texts), engine="e")
    assert await store.complete(job, key, body, 10.0 * len(texts))
    return await store.get(job.id)


async def found(store: JobStore, query: str, owner: str | None = None) -> list[str]:
    return [hit.job.id for hit in (await search(store.database, query, owner=owner)).items]


async def test_search_shows_where_the_words_are_said(store: JobStore) -> None:
    first = await transcribed(store, "Good morning.", "The Café is öffen — São Paulo's heron waits.", "Goodbye.")
    second = await transcribed(store, "東京の天気は晴れです。", "Der Heron, größer als je.", key="b" * 64)
    for query, wanted in {
        "heron": [second, first],
        "HERON cafe": [first],
        "sao paul": [first],
        '"sao paulo"': [first],
        '"paulo sao"': [],
        '"her"': [],  # in quotation marks a word is whole
        "grosser": [second],
        "天気": [second],
        "気天": [],
        "heron penguin": [],
        "heron w": [second, first],  # a word that is still being typed
        "w": [],
        '" OR AND NOT * ^ : ) ( -': [],  # nothing is syntax
        "heron) OR (morning": [],
    }.items():
        assert await found(store, query) == [job.id for job in wanted], query
    [_, hit] = (await search(store.database, "heron")).items
    [snippet] = hit.snippets
    assert snippet.start_s == 10.0
    assert [snippet.text[start:end] for start, end in snippet.marks] == ["heron"]


def test_a_long_segment_has_several_passages_with_their_times() -> None:
    for said in ("a heron " * 500, "\u5929" * 4000, "x" * 3999):
        body = store_form(
            [Segment(0.0, 2.0, "Before."), Segment(10.0, 50.0, said)], language=None, duration_s=50.0, engine="e"
        )
        made = passages_of(body)
        assert all(len(one.text) < 2 * LONGEST for one in made)
        assert "".join(one.text for one in made).replace(" ", "") == f"Before.{said}".replace(" ", "")
        *_, (place, start_s) = made[-1].starts
        assert start_s == pytest.approx(50 - 40 * len(made[-1].text[place:]) / len(said.strip()), abs=0.02)


async def test_search_follows_the_jobs(store: JobStore) -> None:
    job = await transcribed(store, "A heron waits.")
    # The same recording again is completed at once, and found, too.
    [[again], _] = await store.submit([submission()], cached=[KEY])
    assert await found(store, "heron") == [again.id, job.id]
    await store.delete(job.id)
    assert await found(store, "heron") == [again.id]
    await store.delete(again.id)
    assert await found(store, "heron") == []
    async with store.database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(passages)) == 0


async def test_search_finds_only_the_callers_transcripts(store: JobStore) -> None:
    hers = await transcribed(store, "A heron waits.", owner="key:anna")
    his = await transcribed(store, "A heron flies.", key="b" * 64, owner="key:ben")
    assert await found(store, "heron", "key:anna") == [hers.id]
    assert await found(store, "heron", "key:ben") == [his.id]
    assert await found(store, "heron", "") == []
    assert await found(store, "heron") == [his.id, hers.id]


@pytest.mark.parametrize("looked_through", [1, 5, 12, 1000])
async def test_search_goes_on_from_page_to_page(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, looked_through: int
) -> None:
    monkeypatch.setattr("jobs.transcript_library.search.WINDOW", 3)
    monkeypatch.setattr("jobs.transcript_library.search.LOOKED_THROUGH", looked_through)
    long = ["A heron waits. " + "It has much time. " * 40] * 8
    made = []
    for number in range(3):
        made.append(await transcribed(store, *long, key=f"{number}" * 64, owner="key:anna"))
        await transcribed(store, "Silence.", key="a" * 64, owner="key:anna")
        made.append(await transcribed(store, *long, key="b" * 64, owner="key:ben"))
    for owner in ("key:anna", None):
        seen, cursor = [], None
        while True:
            page = await search(store.database, "heron", owner=owner, limit=2, cursor=cursor)
            seen += [hit.job.id for hit in page.items]
            assert all(len(hit.snippets) == 3 for hit in page.items)
            if (cursor := page.next_cursor) is None:
                break
        wanted = [job.id for job in reversed(made) if owner in (None, job.owner)]
        assert list(dict.fromkeys(seen)) == wanted


async def test_tags_and_pins_choose_jobs(store: JobStore) -> None:
    first, second, third = [await transcribed(store, "Hello.", key=f"{n}" * 64, owner="key:anna") for n in range(3)]
    arranged = await store.arrange(first.id, tags=["Entrevistas", "100 %"], filename="Ana.wav")
    assert (arranged.tags, arranged.filename, arranged.version) == (
        ("Entrevistas", "100 %"),
        "Ana.wav",
        first.version + 1,
    )
    await store.arrange(second.id, tags=["entrevistas"], pinned=True)

    async def chosen(**wanted: object) -> tuple[list[str], int]:
        page = await list_jobs(store.database, owner="key:anna", **wanted)  # type: ignore[arg-type]
        return [job.id for job in page.items], page.total

    assert await chosen(tag="entrevistas") == ([second.id, first.id], 2)
    assert await chosen(tag="100 %") == ([first.id], 1)
    await store.arrange(third.id, tags=["Économie"])
    assert await chosen(tag="éCONOMIE") == ([third.id], 1)
    await store.arrange(third.id, tags=[])
    assert await chosen(tag="1") == ([], 0)
    assert await chosen(pinned=True) == ([second.id], 1)
    assert await chosen(pinned=False) == ([third.id, first.id], 2)
    assert await tags_of(store.database, "key:anna") == {"100 %": 1, "Entrevistas": 1, "entrevistas": 1}
    assert await tags_of(store.database, "key:ben") == {}
    await store.arrange(second.id, pinned=False, tags=[])
    assert await chosen(pinned=True) == ([], 0)


async def aged(database: Database, hours: float) -> None:
    async with database.writing() as connection:
        await connection.execute(update(jobs).values(finished_at=time.time() - hours * 3600))
        await connection.execute(update(results).values(used_at=time.time() - hours * 3600))


async def test_jobs_are_kept_unless_a_setting_says_otherwise(store: JobStore, tmp_path: Path) -> None:
    files = FileStore(tmp_path / "uploads", 1 << 20)
    old, pinned = [await transcribed(store, "Hello.", key=f"{n}" * 64) for n in range(2)]
    await store.arrange(pinned.id, pinned=True)
    await aged(store.database, 10_000)
    await Janitor(store.database, files, Settings()).sweep()
    assert await store.get(old.id)
    await Janitor(store.database, files, Settings(delete_audio_after=24)).sweep()
    assert ((await store.get(old.id)).sha256, (await store.get(old.id)).size_bytes) == (None, None)
    assert (await store.get(pinned.id)).sha256
    assert await store.result(old.result_key or "")
    await Janitor(store.database, files, Settings(job_keep_hours=24)).sweep()
    page = await list_jobs(store.database)
    assert [job.id for job in page.items] == [pinned.id]
    assert await found(store, "hello") == [pinned.id]
    files.close()


async def test_the_result_of_a_deleted_job_is_removed(store: JobStore, tmp_path: Path) -> None:
    files = FileStore(tmp_path / "uploads", 1 << 20)
    job = await transcribed(store, "A secret.")
    await store.delete(job.id)
    await aged(store.database, 2)
    await Janitor(store.database, files, Settings()).sweep()
    assert await store.result(KEY) is None
    files.close()
