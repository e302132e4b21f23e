"""A remote worker: a small HTTP server that behaves like the one on Modal."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from deploy.remote_recogniser import open_recogniser
from deploy.remote_worker import verified, work
from jobs.remote_worker import file_signature
from pipeline.settings import Settings
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import SAID, WAIT_S, done
from tests.jobs.test_webhooks import SECRET
from tests.server_process import Service, constants
from tests.servers import web as servers
from tests.servers.running import closed_port
from tests.servers.web import Request, Web
from tests.stt.recordings import MODEL
from tests.waiting import until


class Worker:
    """Accepts jobs and runs each in a thread. The test decides which transcript it reports."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.jobs: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.segments = [{"start": 0.5, "end": 1.5, "text": "one"}, {"start": 2.0, "end": 3.0, "text": "two"}]
        self.go_on = threading.Event()
        self.go_on.set()
        self.sizes: list[int] = []
        web.answer = self.take

    def take(self, request: Request) -> int:
        job = verified(request.body, request.headers, SECRET)
        self.jobs.append(job)
        threading.Thread(target=lambda: self.ends.append(asyncio.run(self.work(job))), daemon=True).start()
        return 202

    async def work(self, job: dict[str, Any]) -> str:
        return await work(job, SECRET, self.transcribe)

    async def transcribe(self, path: str, options: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.sizes.append(Path(path).stat().st_size)
        for segment in self.segments:
            yield {"done_s": segment["end"], "duration_s": 4.0}
            self.go_on.wait(WAIT_S)
        yield {"result": {"language": options["language"] or "en", "duration": 4.0, "segments": self.segments}}


@contextmanager
def elsewhere(folder: Path) -> Iterator[tuple[Service, httpx.Client, Worker]]:
    with servers.serving() as web:
        port = closed_port()
        settings = {
            "MODAL_WEBHOOK_URL": web.address, "APP_URL": f"http://127.0.0.1:{port}",
            "PORT": str(port), "WEBHOOK_SECRET": SECRET, "MODAL_TOKEN_ID": "wk-1", "MODAL_TOKEN_SECRET": "ws-1",
            "URL_ALLOW": "127.0.0.1", **constants({"jobs.run:RETRY_S": 0.1}),
        }  # fmt: skip
        worker = Worker(web)
        with in_process(folder, **settings) as running, httpx.Client(base_url=running.url, timeout=30) as client:
            yield running, client, worker


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, httpx.Client, Worker]]:
    with elsewhere(tmp_path_factory.mktemp("elsewhere")) as opened:
        yield opened


def submit(client: httpx.Client, data: bytes, **options: str) -> str:
    answer = client.post("/api/v1/upload/file", files={"file": ("a.wav", data)}, data={"language": "pt", **options})
    return str(answer.raise_for_status().json()["job_id"])


def signed(worker: Worker, update: dict[str, Any], secret: str = SECRET) -> httpx.Response:
    """Send an update to the callback URL of the newest job."""
    body, now = json.dumps(update), datetime.now(UTC)
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(now.timestamp()))}
    headers["webhook-signature"] = Webhook(secret).sign("m", now, body)
    return httpx.post(worker.jobs[-1]["updates_url"], content=body, headers=headers, timeout=30)


def test_a_job_is_done_by_a_remote_worker(place: tuple[Service, httpx.Client, Worker]) -> None:
    _, client, worker = place
    worker.go_on.clear()
    worker.web.statuses = [503]  # the first post does not reach it
    data = recording(0)
    job_id = submit(client, data)
    until(lambda: client.get(f"/api/v1/transcription/{job_id}").json()["progress"])
    job = client.get(f"/api/v1/transcription/{job_id}").json()
    assert (job["status"], job["progress"]) == ("processing", 37.5)
    worker.go_on.set()
    job = done(client, job_id)
    assert (job["status"], job["result"]["text"], job["result"]["language"]) == ("completed", "one two", "pt")
    assert worker.sizes == [len(data)]
    posted = worker.web.seen[-1]
    assert (posted.headers["modal-key"], posted.headers["modal-secret"]) == ("wk-1", "ws-1")
    assert set(worker.jobs[0]) == {"job_id", "attempt", "file_url", "updates_url", "filename", "options"}


def test_the_remote_worker_receives_all_options(place: tuple[Service, httpx.Client, Worker]) -> None:
    _, client, worker = place
    worker.go_on.set()
    worker.segments = [
        {
            "start": 0.5,
            "end": 1.5,
            "text": "one",
            "speaker": "B",
            "words": [{"word": "one", "start": 0.5, "end": 1.5, "probability": None}],
        }
    ]
    wanted = {
        "model_id": "large-v3", "prompt": "Ana", "words": "false", "translate": "true", "align": "true",
        "diarize": "true", "min_speakers": "2", "max_speakers": "3", "audio_track": "1", "keywords": '["Ana", "Bo"]',
    }  # fmt: skip
    job = done(client, submit(client, recording(7), **wanted))
    assert worker.jobs[-1]["options"] == {
        "model_id": "large-v3", "language": "pt", "prompt": "Ana", "words": False, "translate": True, "align": True,
        "diarize": True, "min_speakers": 2, "max_speakers": 3, "audio_track": 1,
        "keywords": ["Ana", "Bo"], "languages": [],
    }  # fmt: skip
    assert (job["model_id"], job["diarize"], job["result"]["engine"]) == ("large-v3", True, "modal: large-v3")
    assert [one["speaker"] for one in job["result"]["segments"]] == ["B"]


def test_a_cancelled_job_stops_the_remote_worker(place: tuple[Service, httpx.Client, Worker]) -> None:
    _, client, worker = place
    worker.go_on.clear()
    worker.segments = [{"start": n, "end": n + 1, "text": "x"} for n in range(4)]
    count = len(worker.ends)
    job_id = submit(client, recording(1))
    until(lambda: client.get(f"/jobs/{job_id}").json()["progress"])
    client.delete(f"/api/v1/transcription/{job_id}").raise_for_status()
    worker.go_on.set()
    until(lambda: len(worker.ends) > count)
    assert worker.ends[-1] == "cancelled"
    job = client.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["result"]) == ("cancelled", None)
    attempt = worker.jobs[-1]["attempt"]
    late = {"job_id": job_id, "attempt": attempt, "status": "completed", "result": {"duration": 1, "segments": []}}
    assert signed(worker, late).json() == {"job_id": job_id, "status": "cancelled"}
    assert client.get(f"/jobs/{job_id}").json()["result"] is None
    assert httpx.get(worker.jobs[-1]["file_url"]).status_code == 401


def test_only_correctly_signed_updates_are_accepted(place: tuple[Service, httpx.Client, Worker]) -> None:
    _, client, worker = place
    worker.go_on.clear()
    job_id = submit(client, recording(2))
    done(client, job_id, "processing")
    until(lambda: worker.jobs and worker.jobs[-1]["job_id"] == job_id)
    attempt = worker.jobs[-1]["attempt"]
    good = {"job_id": job_id, "attempt": attempt, "status": "failed", "error": {"code": "x", "message": "no"}}
    other = "whsec_" + "A" * 43 + "="
    assert signed(worker, good, other).status_code == 401
    assert httpx.post(worker.jobs[-1]["updates_url"], json=good).status_code == 401
    assert signed(worker, {**good, "attempt": "another"}).json()["status"] == "processing"
    assert signed(worker, {**good, "status": "completed", "result": {"segments": "x"}}).status_code == 400
    assert signed(worker, {**good, "job_id": "none"}).status_code == 404
    url = worker.jobs[-1]["file_url"]
    assert httpx.get(url).status_code == 200
    assert httpx.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 401
    assert signed(worker, good).json()["status"] == "failed"
    worker.go_on.set()
    assert done(client, job_id)["error"] == {"code": "x", "message": "no"}


@pytest.mark.parametrize("query", ["", "?job=x&attempt=y&signature=" + "0" * 64, "?job=%ff&attempt=&signature=%c3%a9"])
def test_the_body_of_an_unsigned_update_is_not_read(place: tuple[Service, httpx.Client, Worker], query: str) -> None:
    """A body can have 64 MiB and is held in memory: a few hundred of them would use all of it."""
    running, _, _ = place
    connection = HTTPConnection("127.0.0.1", running.port, timeout=60)
    try:
        headers = {"Content-Length": str(60 << 20), "webhook-id": "m", "webhook-signature": "v1,AAAA"}
        connection.request("POST", f"/api/v1/webhooks/transcription{query}", headers=headers)
        assert connection.getresponse().status == 401
    finally:
        connection.close()


def test_an_unsigned_request_for_a_file_reveals_nothing(place: tuple[Service, httpx.Client, Worker]) -> None:
    """Existing and missing jobs get the same response, byte for byte, whatever else is sent or left out."""
    running, client, worker = place
    worker.go_on.clear()
    job_id = submit(client, recording(3))
    until(lambda: worker.jobs and worker.jobs[-1]["job_id"] == job_id)
    good = worker.jobs[-1]
    path = f"{running.url}/api/v1/webhooks/transcription"
    queries = [
        "", "?attempt=x", "?signature=x", f"?attempt={good['attempt']}", f"?attempt={good['attempt']}&signature=",
        f"?attempt={good['attempt']}&signature={'0' * 64}", "?attempt=%ff&signature=%c3%a9", "?attempt=a&attempt=b",
    ]  # fmt: skip
    told = set()
    for job in (job_id, "0" * 32, "x", "%00", "%ff", "0" * 3000):
        for query in queries:
            answer = httpx.get(f"{path}/{job}/file{query}")
            told.add((answer.status_code, answer.text, answer.headers.get("www-authenticate")))
    assert len(told) == 1, told
    assert told.pop()[0] == 401
    # A caller with the secret learns nothing about a deleted job either.
    gone = file_signature(SECRET, "0" * 32, "x")
    assert httpx.get(f"{path}/{'0' * 32}/file?attempt=x&signature={gone}").status_code == 401
    assert httpx.get(good["file_url"]).status_code == 200
    worker.go_on.set()
    done(client, job_id)


class Heard(Worker):
    """A remote worker that transcribes with Parley's own recognisers, as the one on Modal does."""

    async def work(self, job: dict[str, Any]) -> str:
        settings = Settings(stt_engine="whisper", whisper_model=str(MODEL), model_host="thread")
        async with open_recogniser(settings) as transcribe:
            return await work(job, SECRET, transcribe)


def test_requested_options_are_done_by_real_recognisers(place: tuple[Service, httpx.Client, Worker]) -> None:
    _, client, worker = place
    Heard(worker.web)
    job = done(client, submit(client, recording(5), language="en"))
    assert (job["result"]["text"], job["result"]["language"]) == (SAID[5], "en")
    assert all(one["words"] for one in job["result"]["segments"])
    plain = done(client, submit(client, recording(5), language="en", words="false"))
    assert all("words" not in one for one in plain["result"]["segments"])
    unknown = done(client, submit(client, recording(5), language="en", model_id="absent-model"))
    assert (unknown["status"], unknown["error"]["code"]) == ("failed", "model_not_found")
    no_sound = done(client, submit(client, b"no audio at all", language="en"))
    assert (no_sound["status"], no_sound["error"]["code"]) == ("failed", "bad_audio")


def test_a_job_goes_to_the_operators_own_trigger_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving() as web:
        monkeypatch.setenv("TRIGGER_API_URL", f"{web.address}/")
        web.answer = lambda _: 200
        settings = {"MODAL_WEBHOOK_URL": "https://worker.example", "APP_URL": "https://parley.example"}
        with (
            in_process(tmp_path, TRIGGER_SECRET_KEY="tr_dev_1", **settings) as running,
            httpx.Client(base_url=running.url, timeout=30) as client,
        ):
            job_id = submit(client, recording(0))
            until(lambda: web.seen)
    posted = web.seen[0]
    assert posted.path == "/api/v1/tasks/transcribe-recording/trigger"
    assert posted.headers["authorization"] == "Bearer tr_dev_1"
    assert json.loads(posted.body)["payload"]["job_id"] == job_id
