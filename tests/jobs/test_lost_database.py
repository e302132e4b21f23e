"""A database that is damaged, removed, replaced or unreachable while the service runs. Every accepted job is kept,
other jobs are refused with a code, and when the database is back, everything works again.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.database import open_database
from jobs.store import JobStore
from pipeline.errors import ConfigError, StorageFailed
from tests.in_process import in_process
from tests.jobs.conftest import needs_postgres, recording, submission
from tests.server_process import Service
from tests.servers.postgres import Postgres
from tests.waiting import until

QUIET = {"JOB_WORKERS": "0"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Service]:
    with in_process(tmp_path, **QUIET) as running:
        yield running


def files(folder: Path) -> list[Path]:
    return [folder / "data" / f"parley.db{suffix}" for suffix in ("", "-wal", "-shm")]


def post(server: Service) -> httpx.Response:
    return httpx.post(f"{server.url}/jobs", files={"files": ("a.wav", recording(0))}, timeout=60)


def ready(server: Service) -> httpx.Response:
    return httpx.get(f"{server.url}/health/ready", timeout=60)


def accepted(server: Service) -> str:
    answer = post(server)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobs"][0]["job_id"])


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_failed"), answer.text
    assert "DATABASE_URL" in answer.json()["error"]["message"]
    assert int(answer.headers["Retry-After"]) > 0


def remove(folder: Path) -> None:
    for file in files(folder):
        file.unlink(missing_ok=True)


def overwrite(folder: Path) -> None:
    """Overwrite the file in place, so that open handles stay valid."""
    file = files(folder)[0]
    with file.open("r+b") as opened:
        opened.write(os.urandom(file.stat().st_size))


def overwrite_all_but_the_first_page(folder: Path) -> None:
    file = files(folder)[0]
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(file.stat().st_size - 4096))


def truncate(folder: Path) -> None:
    os.truncate(files(folder)[0], 0)


def replace(folder: Path) -> None:
    """Replace the file by another file that is a database, too."""
    other = folder / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE other (id)").connection.close()
    other.replace(files(folder)[0])


def remove_the_log(folder: Path) -> None:
    files(folder)[1].unlink()


def empty_the_log(folder: Path) -> None:
    os.truncate(files(folder)[1], 0)


@pytest.mark.parametrize(
    "harm",
    [remove, overwrite, overwrite_all_but_the_first_page, truncate, replace, remove_the_log, empty_the_log],
)
def test_a_job_that_would_be_lost_is_refused(server: Service, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    kept = [accepted(server) for _ in range(3)]
    _checkpoint(tmp_path)
    accepted(server)  # so that the write-ahead log is not empty
    copies = {file: file.read_bytes() for file in files(tmp_path)[:1]}
    harm(tmp_path)
    answer = post(server)
    if answer.status_code == 202:  # it can be accepted only if it is stored
        with sqlite3.connect(files(tmp_path)[0]) as database:
            found = database.execute("SELECT id FROM jobs").fetchall()
        assert (answer.json()["jobs"][0]["job_id"],) in found
        assert harm in (remove_the_log, empty_the_log)
        return
    refused(answer)
    refused(post(server))
    if harm is not overwrite_all_but_the_first_page:  # its row can still be read from the write-ahead log
        refused(httpx.get(f"{server.url}/jobs/{kept[0]}"))
    told = ready(server)
    assert (told.status_code, told.json()["status"]) == (503, "storage_failed")
    assert "DATABASE_URL" in told.json()["message"]
    assert server.text.count("the database cannot be used") == 1
    assert httpx.get(f"{server.url}/health/live").status_code == 200
    # Restore the state of the last checkpoint.
    remove(tmp_path)
    for file, data in copies.items():
        file.write_bytes(data)
    until(lambda: ready(server).status_code == 200)
    assert httpx.get(f"{server.url}/jobs/{kept[0]}").json()["job_id"] == kept[0]
    accepted(server)
    assert "the database can be used again" in server.text


def test_an_emptied_database_in_use_elsewhere_is_refused_at_once(server: Service, tmp_path: Path) -> None:
    accepted(server)
    with contextlib.closing(sqlite3.connect(files(tmp_path)[0])) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM jobs").fetchall()
        truncate(tmp_path)
        for _ in range(3):  # SQLite itself waits 30 s for the other connection's lock, in each new connection
            refused(httpx.post(f"{server.url}/jobs", files={"files": ("a.wav", recording(0))}, timeout=20))
        assert files(tmp_path)[1].stat().st_size > 0  # the write-ahead log has the job


def _checkpoint(folder: Path) -> None:
    """Checkpoint, so that the database file contains the jobs, and not only the log."""
    with sqlite3.connect(files(folder)[0]) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_moved_database_is_reported_and_used_when_it_is_back(server: Service, tmp_path: Path) -> None:
    kept = accepted(server)
    shutil.move(tmp_path / "data", tmp_path / "away")
    refused(post(server))
    assert not (tmp_path / "data").exists()  # a new empty file would hide the loss
    shutil.move(tmp_path / "away", tmp_path / "data")
    until(lambda: ready(server).status_code == 200)
    assert httpx.get(f"{server.url}/jobs/{kept}").json()["status"] == "queued"
    accepted(server)


@pytest.mark.parametrize("length", [0, 4096])
async def test_a_damaged_database_ends_the_start_with_a_message(tmp_path: Path, length: int) -> None:
    """length: number of intact bytes at the file's beginning."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with open_database(url) as opened:
        await JobStore(opened, max_waiting=9).submit([submission()], cached=[None])
    file = tmp_path / "jobs.db"
    file.write_bytes(file.read_bytes()[:length] + os.urandom(file.stat().st_size - length))
    with pytest.raises(
        ConfigError, match=r"The database sqlite.* cannot be used: .*(not a database|damaged|malformed).*"
    ):
        async with open_database(url):
            pass


@needs_postgres
async def test_postgresql_goes_away_and_comes_back(pg: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    async with open_database(pg.database()) as opened:
        store = JobStore(opened, max_waiting=9)
        (job,), _ = await store.submit([submission()], cached=[None])
        pg.kill()
        try:
            for _ in range(3):
                with pytest.raises(StorageFailed, match="DATABASE_URL"):
                    await store.submit([submission()], cached=[None])
            with pytest.raises(StorageFailed):
                await opened.check()
        finally:
            pg.start()
        assert [record.message for record in caplog.records if "cannot be used" in record.message][1:] == []
        opened._look_at = 0.0
        await opened.check()
        assert (await store.get(job.id)).id == job.id


def test_errors_of_job_endpoints_have_the_form_of_their_api(server: Service, tmp_path: Path) -> None:
    remove(tmp_path)
    told: dict[str, Any] = httpx.get(f"{server.url}/queues").json()
    assert told["error"]["code"] == "storage_failed"
    assert told["detail"] == told["error"]["message"]
    assert httpx.get(f"{server.url}/status").json()["jobs"] is None
    assert "parley_jobs_readable 0.0" in httpx.get(f"{server.url}/metrics").text
