"""Several job workers on one PostgreSQL, killed and restarted while they work."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import forked
from tests.jobs.conftest import needs_postgres, recording
from tests.jobs.test_endpoints import HEARS, SAID, done, slow_recording
from tests.server_process import END_S, busy_s, constants, environment, serving
from tests.servers import web as servers
from tests.servers.postgres import Postgres
from tests.servers.running import closed_port
from tests.test_tracing import exported
from tests.waiting import until

pytestmark = needs_postgres
pytest.importorskip("procrastinate")


def shared(folder: Path, pg: Postgres) -> dict[str, str]:
    """Return the settings of a service and its job workers, with a new database. They soon notice that one is gone."""
    soon = constants(
        {"jobs.run:SILENT_S": 5.0, "jobs.queue.procrastinate:SWEEP_S": 1.0, "jobs.folders.settling:SETTLE_S": 0.5}
    )
    return {
        **HEARS, **soon,
        "DATABASE_URL": pg.database(), "JOB_QUEUE": "procrastinate", "UPLOAD_DIR": str(folder / "up"),
    }  # fmt: skip


@contextmanager
def worker(folder: Path, settings: dict[str, str], *options: str) -> Iterator[forked.Process]:
    """A running `python main.py worker`."""
    process = forked.start("worker", *options, folder=folder, env=environment(**settings), stdout=True)
    try:
        assert process.stdout is not None
        assert "at a time" in process.stdout.readline()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0


def test_all_jobs_survive_kills_of_workers_and_database(tmp_path: Path, pg: Postgres) -> None:
    settings = shared(tmp_path, pg)
    with (
        serving(tmp_path, **settings, JOB_WORKERS="0") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        with worker(tmp_path, settings) as first:
            files = [
                ("files", ("long.flac", slow_recording(count=5))),
                *(("files", (f"{n}.wav", recording(n))) for n in range(3)),
            ]
            jobs = client.post("/jobs", files=files, data={"language": "en"}).json()["jobs"]
            done(client, jobs[0]["job_id"], "processing")
            first.kill()
            first.wait()
        with worker(tmp_path, settings) as again:
            pg.kill()
            pg.start()
            ended = [done(client, job["job_id"]) for job in jobs]
            assert [job["status"] for job in ended] == ["completed"] * 4
            assert [job["result"]["text"] for job in ended[1:]] == SAID[:3]
            assert ended[0]["attempts"] == 1
            slow = {"files": ("long.flac", slow_recording(count=24))}
            long = client.post("/jobs", files=slow).json()["jobs"][0]["job_id"]
            behind = client.post("/jobs", files=files[1:2], data={"prompt": "x"}).json()["jobs"][0]["job_id"]
            done(client, long, "processing")
            before_s = busy_s(again.pid)
            client.post(f"/jobs/{long}/cancel").raise_for_status()
            done(client, behind, "processing", "completed")
            assert busy_s(again.pid) - before_s < 3
            assert client.get(f"/jobs/{long}").json()["result"] is None


def test_two_workers_share_jobs_and_one_takes_over_from_the_other(tmp_path: Path, pg: Postgres) -> None:
    settings = {**shared(tmp_path, pg), "MODEL_HOST": "thread"}
    with (
        servers.serving() as web,
        serving(tmp_path, **settings, JOB_WORKERS="0") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
        worker(tmp_path, settings),
        worker(tmp_path, settings) as second,
    ):
        files = [("files", (f"{n}.flac", slow_recording(n, count=5))) for n in range(4)]
        data = {"language": "en", "webhook_url": f"{web.address}/hook"}
        jobs = [job["job_id"] for job in client.post("/jobs", files=files, data=data).json()["jobs"]]
        until(lambda: client.get("/queues").json()["processing"] == 2)  # each does one at a time
        second.kill()
        second.wait()
        ended = [done(client, job_id) for job_id in jobs]
        assert {(job["status"], job["attempts"]) for job in ended} == {("completed", 1)}
        assert all(job["result"]["text"] for job in ended)
        until(lambda: len({request.headers["webhook-id"] for request in web.seen}) == len(jobs))
        told = [json.loads(request.body)["data"]["job_id"] for request in web.seen]
        assert sorted(told) == sorted(jobs), "each is done once"
        numbers = client.get("/queues").json()
        assert (numbers["completed"], numbers["queued"], numbers["processing"]) == (4, 0, 0)


def test_a_job_worker_exports_metrics_and_traces(tmp_path: Path, pg: Postgres) -> None:
    port = closed_port()
    settings = shared(tmp_path, pg)
    with (
        servers.serving() as collector,
        serving(tmp_path, **settings, JOB_WORKERS="0") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        collector.answer = lambda _: 200
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_SERVICE_NAME": "workers"}
        with worker(tmp_path, {**settings, **traced}, "--metrics", f"127.0.0.1:{port}"):
            files = {"files": ("a.wav", recording(1))}
            made = client.post("/jobs", files=files, data={"language": "en"}).json()["jobs"]
            assert done(client, made[0]["job_id"])["status"] == "completed"
            address = f"http://127.0.0.1:{port}/metrics"
            until(lambda: 'parley_job_attempts_total{outcome="completed"} 1.0' in httpx.get(address).text)
            told = httpx.get(address).text
        spans = exported(collector)  # the last spans are sent when the worker ends
    assert 'parley_engine{device="cpu",engine="whisper"' in told
    assert 'parley_model_replicas{stage="stt",state="loaded"} ' in told
    assert 'parley_model_busy_seconds_total{model="whisper"}' in told
    assert "process_resident_memory_bytes" in told
    assert "parley_jobs{" not in told, "only services report the table, because all share it"
    [job] = [span for span in spans if span.name == "job"]
    assert [span.name for span in spans if span.parent_span_id == job.span_id] == ["whisper.segments"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_procrastinate_on_sqlite_is_refused(tmp_path: Path) -> None:
    ended = forked.run(folder=tmp_path, env=environment(JOB_QUEUE="procrastinate"))
    assert ended.returncode == 2
    assert "PostgreSQL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_recordings_in_a_watched_folder_are_run_by_a_job_worker(tmp_path: Path, pg: Postgres) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    settings = {
        **shared(tmp_path, pg),
        "MODEL_HOST": "thread",
        "WATCH_DIR": str(root),
        "WATCH_FORMATS": "txt",
        "SPEECH_LANGUAGE": "en",
    }
    with (
        serving(tmp_path, **settings, JOB_WORKERS="0") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
        worker(tmp_path, settings),
    ):
        for number in (1, 2):
            (root / f"{number}.wav").write_bytes(recording(number))
        until(lambda: {path.name for path in root.glob("*.txt")} == {"1.txt", "2.txt"} or None)
        assert [(root / f"{number}.txt").read_text().strip() for number in (1, 2)] == SAID[1:3]
        assert [job["status"] for job in client.get("/jobs").json()["items"]] == ["completed"] * 2
        [shown] = client.get("/health").json()["watched_folders"]
        assert shown["status"] in ("watching", "elsewhere")
