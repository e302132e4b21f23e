"""Edited transcripts in both databases: versions, conflicts, and what is forgotten."""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from jobs import documents, schema
from jobs.documents import Documents
from jobs.editing import (
    Change,
    Document,
    Merge,
    MergeSpeakers,
    NameSpeaker,
    Operation,
    SetParagraph,
    SetSpeaker,
    SetText,
    Split,
    applied,
    difference,
    edited,
)
from jobs.errors import JobNotFound, NotPossible, Refused, VersionConflict, VersionNotFound
from jobs.job import Job
from jobs.result import StoredWord, download, store_form, stored_segment
from jobs.store import JobStore
from jobs.transcript_library.search import search
from pipeline.errors import BadInput
from pipeline.stt import Segment, Word
from tests.jobs.conftest import submission

TEXTS = ["good morning every one", "what can I do", "for you to day", "nothing thanks"]
SPEAKERS = ["A", "A", "B", "A"]


def segment(number: int, text: str) -> Segment:
    start = 4.0 * number
    words = [Word(word, start + n * 0.5, start + n * 0.5 + 0.4, 0.9) for n, word in enumerate(text.split())]
    return Segment(start, start + 3.0, text, "en", words, speaker=SPEAKERS[number % 4], id=number)


async def finished(store: JobStore, texts: Sequence[str] = TEXTS) -> Job:
    """A job with a transcript."""
    [job], _ = await store.submit([submission(owner="key:anna")], cached=[None])
    claimed = await store.claim(job.id)
    assert claimed is not None
    segments = [segment(number, text) for number, text in enumerate(texts)]
    body = store_form(segments, language="en", duration_s=16.0, engine="test")
    await store.complete(claimed, "k" * 64, body, 16.0)
    return await store.get(job.id)


@pytest.fixture
def kept(store: JobStore) -> Documents:
    return Documents(store)


async def told(kept: Documents, store: JobStore, job: Job) -> dict[str, Any]:
    body = await kept.body(await store.get(job.id))
    assert body is not None
    found: dict[str, Any] = json.loads(body)
    return found


def texts(result: dict[str, Any]) -> list[str]:
    return [one["text"] for one in result["segments"]]


async def edit(kept: Documents, store: JobStore, job: Job, version: int, *operations: Operation) -> int:
    return (await kept.edit(await store.get(job.id), version, operations, author="key:anna")).version


INDEX = st.integers(0, 5)
LABEL = st.sampled_from("ABC")
OPERATIONS = st.lists(
    st.one_of(
        st.builds(SetText, st.just("text"), INDEX, st.sampled_from(["", "new words", "good morning every one"])),
        st.builds(Split, st.just("split"), INDEX, st.integers(1, 20)),
        st.builds(Merge, st.just("merge"), INDEX),
        st.builds(SetParagraph, st.just("paragraph"), INDEX, st.booleans()),
        st.builds(SetSpeaker, st.just("speaker"), INDEX, INDEX, st.none() | LABEL),
        st.builds(MergeSpeakers, st.just("merge_speakers"), LABEL, LABEL),
        st.builds(NameSpeaker, st.just("name"), LABEL, st.none() | st.sampled_from(["Ana", "Ben"])),
    ),
    max_size=8,
)


@given(OPERATIONS)
def test_every_edit_can_be_undone_and_repeated_by_its_changes(operations: list[Operation]) -> None:
    original = Document([stored_segment(segment(number, text)) for number, text in enumerate(TEXTS)], {"A": "Zoe"})
    now, changes, undo = original, list[Change](), list[Change]()
    for one in operations:
        try:
            made = edited(now, [one])
        except BadInput:
            continue
        now, changes, undo = made.document, [*changes, *made.changes], [*made.undo, *undo]
    assert after(original, changes) == now
    assert after(now, undo) == original
    assert plain(after(original, difference(original, now))) == plain(now)
    assert plain(after(now, difference(now, original))) == plain(original)


def test_an_edit_of_all_speakers_is_small_and_too_many_are_refused() -> None:
    one = stored_segment(segment(0, TEXTS[0]))
    long = Document([{**one, "speaker": "AB"[not number % 1000]} for number in range(2_000)], {})
    both: list[Operation] = [SetSpeaker("speaker", 0, 1_999, "AB"[number % 2]) for number in range(20)]
    made = edited(long, both)
    assert made.changes[1] == {"speakers": [(0, 1_999, "B")]}
    assert len(json.dumps([made.changes, made.undo])) < 10_000
    assert after(made.document, made.undo) == long
    for wrong in (
        [SetSpeaker("speaker", number, number, f"S{number}") for number in range(100)],
        [SetParagraph("paragraph", 0, True)] * 100,
        [SetSpeaker("speaker", 0, 199, "AB"[number % 2]) for number in range(10_000)],
    ):
        words: list[StoredWord] = [{"word": "a", "start": 0.0, "end": 1.0}] * 100_000
        whole = Document([{**one, "words": words}, *long.segments[1:200]], {})
        with pytest.raises(Refused, match=r"at most 100 speakers|too much"):
            edited(whole, wrong)


def after(document: Document, changes: Sequence[Change]) -> Document:
    for change in changes:
        document, _ = applied(document, change)
    return document


def plain(document: Document) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The document without the ids of its segments, which are counted when it is stored."""
    return [{**one, "id": 0} for one in document.segments], dict(document.names)


async def test_edits_are_kept_and_every_version_can_be_restored(kept: Documents, store: JobStore) -> None:
    job = await finished(store)
    original = await told(kept, store, job)
    steps: list[list[Operation]] = [
        [SetText("text", 0, "Good morning everyone."), SetText("text", 3, "")],
        [Split("split", 0, 5), SetParagraph("paragraph", 2, True)],
        [Merge("merge", 2), SetSpeaker("speaker", 0, 0, "C")],
        [NameSpeaker("name", "C", "Cleo"), MergeSpeakers("merge_speakers", "A", "C")],
    ]
    seen: list[tuple[dict[str, Any], dict[str, str]]] = [(original, {})]
    for version, operations in enumerate(steps):
        assert await edit(kept, store, job, version, *operations) == version + 1
        now = await store.get(job.id)
        seen.append((await told(kept, store, job), dict(now.speakers)))
    last, names = seen[-1]
    assert texts(last) == ["Good", "morning everyone.", "what can I do for you to day"]
    assert last["text"] == "Good morning everyone. what can I do for you to day"
    assert ([one["speaker"] for one in last["segments"]], names) == (["C", "C", "C"], {"C": "Cleo"})
    assert [one["id"] for one in last["segments"]] == [0, 1, 2]
    assert last["segments"][1]["paragraph"] is True
    assert last["segments"][0]["avg_logprob"] == original["segments"][0]["avg_logprob"]
    assert [hit.job.id for hit in (await search(store.database, "everyone")).items] == [job.id]
    for wanted in (1, 0, 3, 2):
        now = await store.get(job.id)
        version = (await told(kept, store, job))["version"]
        assert json.loads(await kept.at(now, wanted))["text"] == seen[wanted][0]["text"]
        await kept.restore(now, version, wanted, author="key:ben")
        restored = await told(kept, store, job)
        assert restored == {**seen[wanted][0], "version": version + 1}
        assert (await store.get(job.id)).speakers == seen[wanted][1]
        if not wanted:
            assert (await search(store.database, "everyone")).items == [], "search finds only what is there now"
    listed = await kept.versions(job)
    assert [one.version for one in listed] == list(range(8, 0, -1))
    assert (listed[0].author, listed[0].restored, listed[0].operations) == ("key:ben", 2, ["restore"])
    assert (listed[-1].author, listed[-1].restored, listed[-1].operations) == ("key:anna", None, ["text"])


async def test_a_paragraph_begun_by_hand_is_in_downloads(kept: Documents, store: JobStore) -> None:
    job = await finished(store)
    await edit(kept, store, job, 0, SetParagraph("paragraph", 1, True), Split("split", 0, 5))
    file = download(json.dumps(await told(kept, store, job)), "md", {})
    assert isinstance(file, str)
    assert re.findall(r"\n\n([a-zA-Z ]+)(?=\n)", file) == ["good", "morning every one", "what can I do", *TEXTS[2:]]


async def test_the_second_of_two_concurrent_edits_is_a_conflict(kept: Documents, store: JobStore) -> None:
    job = await finished(store)
    for version in (0, 1):  # the first edit inserts a row, later ones change it
        tries = [edit(kept, store, job, version, SetText("text", 0, f"edit {n} of {version}")) for n in range(4)]
        ended = await asyncio.gather(*tries, return_exceptions=True)
        conflicts = [one for one in ended if isinstance(one, VersionConflict)]
        assert (len(conflicts), {one.version for one in conflicts}) == (3, {version + 1})
        assert ended.count(version + 1) == 1
    with pytest.raises(VersionConflict):
        await edit(kept, store, job, 7, SetText("text", 0, "from nowhere"))


async def test_impossible_edits_change_nothing(kept: Documents, store: JobStore) -> None:
    job = await finished(store)
    for wrong in (
        SetText("text", 4, "x"), Merge("merge", 3), Split("split", 0, 1000), SetSpeaker("speaker", 2, 1, "A"),
        SetSpeaker("speaker", 0, 4, "A"), MergeSpeakers("merge_speakers", "A", "Z"), NameSpeaker("name", "Z", "Zoe"),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            await edit(kept, store, job, 0, SetText("text", 0, "not this"), wrong)
    assert texts(await told(kept, store, job)) == TEXTS
    [waiting], _ = await store.submit([submission()], cached=[None])
    with pytest.raises(NotPossible):
        await edit(kept, store, waiting, 0, SetText("text", 0, "early"))


async def test_an_edit_cannot_make_a_transcript_much_longer(
    kept: Documents, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "SPARE_CHARS", 50)
    job = await finished(store)
    most = 3 * len(" ".join(TEXTS)) + 50 - len("".join(TEXTS[1:]))
    with pytest.raises(Refused):
        await edit(kept, store, job, 0, SetText("text", 0, "x" * (most + 1)))
    assert await edit(kept, store, job, 0, SetText("text", 0, "x" * most)) == 1


async def test_an_edit_changes_only_its_passages_of_the_index(kept: Documents, store: JobStore) -> None:
    job = await finished(store, [f"This is sentence {number}. " + "It is long. " * 40 for number in range(4)])

    async def ids() -> dict[str, int]:
        async with store.database.reading() as connection:
            rows = await connection.execute(select(schema.passages.c.text, schema.passages.c.id))
            return {row.text.split(".")[0]: row.id for row in rows}

    before = await ids()
    await edit(kept, store, job, 0, SetText("text", 2, "Another one. " + "It is long. " * 40))
    now = await ids()
    assert set(now) ^ set(before) == {"This is sentence 2", "Another one"}
    assert {now[text] for text in now if text in before} == set(before.values()) - {before["This is sentence 2"]}
    assert [hit.job.id for hit in (await search(store.database, "another sentence")).items] == []
    assert [hit.job.id for hit in (await search(store.database, "another")).items] == [job.id]


async def test_old_versions_are_forgotten_but_never_the_original(
    kept: Documents, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_VERSIONS", 3)
    job = await finished(store)
    for version in range(6):
        await edit(kept, store, job, version, SetText("text", 0, f"edit {version + 1}"))
    assert [one.version for one in await kept.versions(job)] == [6, 5, 4]
    for gone in (1, 2, 7):
        with pytest.raises(VersionNotFound):
            await kept.at(job, gone)
    assert texts(json.loads(await kept.at(job, 3)))[0] == "edit 3"
    await kept.restore(job, 6, 0, author="")
    assert texts(await told(kept, store, job)) == TEXTS


async def test_a_deleted_job_takes_its_versions_with_it(kept: Documents, store: JobStore) -> None:
    job = await finished(store)
    await edit(kept, store, job, 0, SetText("text", 0, "secret"))
    await store.delete(job.id)
    async with store.database.reading() as connection:
        for table in (schema.documents, schema.versions):
            assert (await connection.execute(table.select())).all() == []
    with pytest.raises(JobNotFound):
        await kept.edit(job, 0, [SetText("text", 0, "late")], author="")


async def test_names_that_are_set_together_make_a_version_that_is_undone(kept: Documents, store: JobStore) -> None:
    job = await finished(store)
    await edit(kept, store, job, 0, SetText("text", 0, "good evening"))
    names = {"A": "Ana", "Z": "of no segment"}
    saved = await kept.name_speakers(job, names, author="key:anna")
    assert saved is not None
    assert (saved.version, saved.changes) == (2, [{"names": names}])
    assert (await store.get(job.id)).speakers == names
    assert [one.operations for one in await kept.versions(job)] == [["name"], ["text"]]
    assert await kept.name_speakers(job, names, author="key:anna") is None, "they are the names already"
    await kept.restore(await store.get(job.id), 2, 1, author="key:anna")
    assert (await store.get(job.id)).speakers == {}
    assert texts(await told(kept, store, job))[0] == "good evening"


async def test_names_of_concurrent_callers_are_all_versions(kept: Documents, store: JobStore) -> None:
    job, others = await finished(store), Documents(store)  # as in another process
    naming = [one.name_speakers(job, {"A": f"{n}"}, author="") for n, one in enumerate([kept, others] * 2)]
    saved = [one.version for one in await asyncio.gather(*naming) if one is not None]
    assert sorted(saved) == [1, 2, 3, 4]
