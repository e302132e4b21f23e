"""Files of watched folders in the database."""

from pathlib import Path

from jobs.folders.looking import Stamp
from jobs.folders.results import Written
from jobs.folders.rows import WatchedFiles
from jobs.store import JobStore
from tests.jobs.conftest import submission


async def failed(store: JobStore, rows: WatchedFiles, path: str) -> str:
    """Create the job of a file, which fails; return its id."""
    also = rows.recorder(path, Stamp(1, 1))
    [made], _ = await store.submit([submission(path)], cached=[None], also=also)
    running = await store.claim(made.id)
    assert running is not None
    await store.fail(running, "stt_failed", "no")
    return made.id


async def test_a_retry_during_the_writing_gets_its_results_too(store: JobStore) -> None:
    rows = WatchedFiles(store.database, Path("/watched"))
    job_id = await failed(store, rows, "a.wav")
    [due] = await rows.due()
    await store.retry(job_id)
    await rows.told(due, {"error": Written("a.wav.error.txt", 3, 1)})
    again = await store.claim(job_id)
    assert again is not None
    await store.fail(again, "stt_failed", "no")
    [due] = await rows.due()
    assert due.outputs["error"].name == "a.wav.error.txt"
    await rows.told(due, due.outputs)
    assert await rows.due() == []


async def test_planned_names_outlive_the_process(store: JobStore) -> None:
    rows = WatchedFiles(store.database, Path("/watched"))
    await failed(store, rows, "a.wav")
    [due] = await rows.due()
    await rows.planned(due, {"txt": Written("", 0, 0, planned="a.txt")})
    [again] = await rows.due()
    assert again.outputs["txt"].planned == "a.txt"


async def test_results_that_are_left_for_later_come_when_the_folder_is_back(store: JobStore) -> None:
    rows, other = (WatchedFiles(store.database, Path(folder)) for folder in ("/watched", "/other"))
    for path in ("a.wav", "b.wav"):
        await failed(store, rows, path)
    [first, second] = await rows.due()
    await rows.later(first, 600)
    assert [one.path for one in await rows.due()] == [second.path]
    await other.now()
    assert len(await rows.due()) == 1
    await rows.now()
    assert len(await rows.due()) == 2
