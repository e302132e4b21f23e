"""The service is killed (SIGKILL) at any point: no job is lost, stuck, or done twice."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx

from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, SAID, done, left_incoming, slow_recording
from tests.server_process import killed, serving
from tests.servers import web as servers
from tests.waiting import until

THREADED = {**HEARS, "MODEL_HOST": "thread"}
"""The model in the process that is killed, which starts twice as fast."""
POINTS_S = [0.0, 0.8]
"""Delays between the acceptance of the jobs and the kill."""


def test_no_job_is_lost_when_killed_at_several_points(tmp_path: Path) -> None:
    texts = dict[str, str]()
    with servers.serving() as web:
        for number, point_s in enumerate(POINTS_S):
            with killed(tmp_path, **THREADED) as service, httpx.Client(base_url=service.url, timeout=60) as client:
                data = {"language": "en", "words": "false", "webhook_url": f"{web.address}/hook"}
                long_one = slow_recording(number, count=4)
                files = [("files", ("long.flac", long_one)), ("files", ("a.wav", recording(number)))]
                answer = client.post("/jobs", files=files, data=data, headers={"Idempotency-Key": f"{number}"})
                assert answer.status_code == 202
                long, short = (job["job_id"] for job in answer.json()["jobs"])
                texts |= {long: " ".join(SAID[number : number + 4]), short: SAID[number]}
                time.sleep(point_s)
        with serving(tmp_path, **THREADED) as running, httpx.Client(base_url=running.url, timeout=60) as client:
            ended = {job_id: done(client, job_id) for job_id in texts}
            again = client.post("/jobs", files=files, data=data, headers={"Idempotency-Key": f"{number}"})
            assert [job["job_id"] for job in again.json()["jobs"]] == [long, short]
            assert client.get("/queues").json()["total"] == len(texts)
            until(lambda: {told(request) for request in web.seen} == set(texts))
    assert {job["status"] for job in ended.values()} == {"completed"}
    assert {job_id: job["result"]["text"] for job_id, job in ended.items()} == texts
    messages = {(told(request), request.headers["webhook-id"]) for request in web.seen}
    assert len(messages) == len(texts)  # each delivered once
    assert left_incoming(tmp_path) == []


def told(request: Any) -> str:
    return str(json.loads(request.body)["data"]["job_id"])


def test_a_job_killed_during_its_fetch_is_done_after_a_restart(tmp_path: Path) -> None:
    with servers.serving() as web:
        web.data, web.pause_s = recording(3), 0.2
        with killed(tmp_path, **THREADED) as service, httpx.Client(base_url=service.url, timeout=60) as client:
            url = {"url": f"{web.address}/talk.wav", "language": "en"}
            job_id = client.post("/api/v1/upload/url", json=url).json()["job_id"]
            until(lambda: left_incoming(tmp_path))
        web.pause_s = 0
        with serving(tmp_path, **THREADED) as running, httpx.Client(base_url=running.url, timeout=60) as client:
            assert done(client, job_id)["result"]["text"] == SAID[3]
    assert left_incoming(tmp_path) == []


def test_a_job_stopped_at_shutdown_resumes_at_the_next_start(tmp_path: Path) -> None:
    with serving(tmp_path, **THREADED) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        job_id = client.post("/jobs", files={"files": ("long.flac", slow_recording(count=8))}).json()["jobs"][0][
            "job_id"
        ]
        done(client, job_id, "processing")
    with sqlite3.connect(tmp_path / "data" / "parley.db") as database:
        assert database.execute("SELECT status FROM jobs").fetchall() == [("queued",)]
    with serving(tmp_path, **THREADED) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        job = done(client, job_id)
    assert (job["status"], job["attempts"]) == ("completed", 1)


def test_a_second_service_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    with (
        killed(tmp_path, **THREADED) as first,
        serving(tmp_path, **THREADED) as second,
        httpx.Client(base_url=second.url, timeout=60) as client,
    ):
        # While both run, the first one does the jobs that the second one accepts.
        running = client.post("/jobs", files={"files": ("long.flac", slow_recording(count=5))}).json()["jobs"][0][
            "job_id"
        ]
        done(client, running, "processing")
        waiting = httpx.post(f"{first.url}/jobs", files={"files": ("a.wav", recording(2))}, data={"language": "en"})
        first.process.kill()
        first.process.wait()
        assert done(client, running)["status"] == "completed"
        assert done(client, waiting.json()["jobs"][0]["job_id"])["result"]["text"] == SAID[2]
        new = client.post("/jobs", files={"files": ("b.wav", recording(3))}, data={"language": "en"})
        assert done(client, new.json()["jobs"][0]["job_id"])["result"]["text"] == SAID[3]
        assert "this one takes over" in second.text
        # A third service waits behind the second.
        with serving(tmp_path, **THREADED) as third:
            assert "only accepts jobs" in third.text


def test_a_second_service_only_accepts_jobs_until_the_first_ends(tmp_path: Path) -> None:
    with (
        serving(tmp_path, **THREADED) as first,
        serving(tmp_path, **THREADED) as second,
        httpx.Client(base_url=second.url, timeout=60) as client,
    ):

        def post(number: int) -> str:
            sent = client.post("/jobs", files={"files": ("a.wav", recording(number))}, data={"language": "en"})
            return str(sent.json()["jobs"][0]["job_id"])

        assert done(client, post(1))["status"] == "completed"
        assert "only accepts jobs" in second.text
        assert "only accepts jobs" not in first.text
        first.end()
        assert done(client, post(2))["result"]["text"] == SAID[2]


def test_open_event_streams_do_not_delay_shutdown(tmp_path: Path) -> None:
    with (
        serving(tmp_path, **THREADED, JOB_WORKERS="0", DRAIN_SECONDS="300") as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        job_id = client.post("/jobs", files={"files": ("a.wav", recording(0))}).json()["jobs"][0]["job_id"]
        with client.stream("GET", f"/jobs/{job_id}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: progress"
            running.end()  # long before the drain deadline
