"""Every endpoint that writes reports a full disk with the code storage_full and the setting to check, and works again
when there is space."""

import io
import json
import wave
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from pipeline.audio.clip import encode_wav
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, SAID, done
from tests.server_process import ServerProcess, ask, constants, serving
from tests.servers import web as servers
from tests.stt.recordings import spliced
from tests.tiny_disks import Disks, mounted, needs_disks
from tests.waiting import until

pytestmark = needs_disks
NAMES = {"UPLOAD_DIR": "uploads", "DATABASE_URL": "data", "TMPDIR": "tmp", "VOICES_DIR": "voices",
         "RECORDINGS_DIR": "kept"}  # fmt: skip


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    with mounted(tmp_path_factory.mktemp("disks"), dict.fromkeys(NAMES.values(), 3)) as disks:
        yield disks


@pytest.fixture(scope="module")
def server(disks: Disks) -> Iterator[ServerProcess]:
    places = {setting: str(disks.folder / name) for setting, name in NAMES.items()}
    places["DATABASE_URL"] = f"sqlite:///{places['DATABASE_URL']}/parley.db"
    settings = {**HEARS, **places, "RECORD": "true", "VOICE_NAME": "woman", **constants({"jobs.run:RETRY_S": 0.05})}
    with serving(disks.folder, within=disks.pid, **settings) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


@pytest.fixture
def full(server: ServerProcess, disks: Disks) -> Any:
    """Fill the disk of a setting for the duration of a block."""

    @contextmanager
    def full(setting: str) -> Iterator[None]:
        disks.fill(server.process.pid, NAMES[setting])
        try:
            yield
        finally:
            disks.empty(server.process.pid, NAMES[setting])

    return full


def long_wav(number: int, megabytes: int = 2) -> bytes:
    """Return an utterance followed by so much silence that the upload is written to disk."""
    out = io.BytesIO()
    with wave.open(io.BytesIO(recording(number))) as source, wave.open(out, "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(source.getnframes()))
        target.writeframes(bytes(megabytes << 20))
    return out.getvalue()


def error_of(answer: httpx.Response, setting: str) -> dict[str, Any]:
    """Check that a response reports a full disk for this setting; return its error."""
    assert answer.status_code == 507, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == "storage_full"
    assert setting in error["message"]
    return error


def post_job(client: httpx.Client, name: str, data: bytes) -> httpx.Response:
    return client.post("/jobs", files={"files": (name, data)}, data={"language": "en"})


def test_upload_with_tmpdir_full(client: httpx.Client, full: Any) -> None:
    form: dict[str, Any] = {"files": {"file": ("a.wav", long_wav(1))}, "data": {"model": "whisper-1", "language": "en"}}
    with full("TMPDIR"):
        answer = client.post("/v1/audio/transcriptions", **form)
        assert error_of(answer, "TMPDIR")["type"] == "server_error"
        assert "detail" in client.post("/transcribe", **form).json()
    assert client.post("/v1/audio/transcriptions", **form).json()["text"] == SAID[1]


def test_job_with_upload_dir_full(client: httpx.Client, full: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.wav", recording(2))
    with full("UPLOAD_DIR"):
        error_of(post_job(client, "a.wav", long_wav(2)), "UPLOAD_DIR")
        error_of(post_job(client, "a.wav", recording(2)), "UPLOAD_DIR")
        error_of(post_job(client, "a.zip", packed.getvalue()), "UPLOAD_DIR")
        assert client.get("/queues").json()["total"] == 0
    job_id = post_job(client, "a.wav", recording(2)).json()["jobs"][0]["job_id"]
    assert done(client, job_id)["result"]["text"] == SAID[2]


def test_archive_that_does_not_fit_unpacked_leaves_no_files(client: httpx.Client, full: Any, disks: Disks) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", long_wav(2, megabytes=5))
    error_of(post_job(client, "a.zip", packed.getvalue()), "UPLOAD_DIR")
    with full("UPLOAD_DIR"):
        pass  # the rejected archive left no file, so that there is space to fill and to free
    assert post_job(client, "b.wav", recording(2)).status_code == 202


def test_job_from_a_url_waits_for_space(client: httpx.Client, full: Any) -> None:
    with servers.serving() as web:
        web.data = recording(3)
        with full("UPLOAD_DIR"):
            url = {"url": f"{web.address}/talk.wav", "language": "en"}
            job_id = client.post("/api/v1/upload/url", json=url).json()["job_id"]
            until(lambda: (client.get(f"/jobs/{job_id}").json()["error"] or {}).get("code") == "storage_full")
            assert "UPLOAD_DIR" in client.get(f"/jobs/{job_id}").json()["error"]["message"]
        job = done(client, job_id)
    assert (job["result"]["text"], job["attempts"], job["error"]) == (SAID[3], 1, None)


def test_job_with_the_database_disk_full(client: httpx.Client, full: Any, server: ServerProcess) -> None:
    with full("DATABASE_URL"):
        for number in range(40):  # pages that are already in the log can be rewritten without space
            answer = post_job(client, f"{number}.wav", recording(4))
            if answer.status_code != 202:
                break
        error_of(answer, "DATABASE_URL")
        total = client.get("/queues").json()["total"]
        error_of(post_job(client, "again.wav", recording(4)), "DATABASE_URL")
        assert client.get("/queues").json()["total"] == total
    assert server.text.count("the database cannot be used") == 1
    answer = post_job(client, "a.wav", recording(5))
    assert done(client, answer.json()["jobs"][0]["job_id"])["result"]["text"] == SAID[5]
    until(lambda: client.get("/health/ready").status_code == 200)


def test_streamed_upload_with_tmpdir_full(server: ServerProcess, full: Any) -> None:
    sound = long_wav(6)
    with connect(f"ws://127.0.0.1:{server.port}/api/v1/streaming?language=en", max_size=None) as socket:
        with full("TMPDIR"):
            for at in range(0, len(sound), 1 << 18):
                socket.send(sound[at : at + (1 << 18)])
            socket.send(json.dumps({"action": "stop"}))
            error = json.loads(socket.recv(timeout=60))["error"]
            assert error["code"] == "storage_full"
            assert "TMPDIR" in error["message"]
        socket.send(sound)
        socket.send(json.dumps({"action": "stop"}))
        assert json.loads(socket.recv(timeout=60)) == {"transcription": SAID[6]}


def test_voice_upload_with_voices_dir_full(
    client: httpx.Client, full: Any, disks: Disks, server: ServerProcess
) -> None:
    sample = encode_wav(spliced([(0.5, 0), (0.5, 1), (0.5, 2)])[0])
    form: dict[str, Any] = {"files": {"audio_sample": ("a.wav", sample)}, "data": {"name": "Maria", "consent": "yes"}}
    with full("VOICES_DIR"):
        error_of(client.post("/v1/audio/voices", **form), "VOICES_DIR")
    assert list(disks.seen_by(server.process.pid, "voices").iterdir()) == []
    assert client.post("/v1/audio/voices", **form).status_code == 200
    disks.make_read_only(server.process.pid, "voices")
    form["data"]["name"] = "Marta"
    answer = client.post("/v1/audio/voices", **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_failed")
    assert "VOICES_DIR" in answer.json()["error"]["message"]


def test_turn_completes_if_its_recording_cannot_be_written(server: ServerProcess, full: Any, disks: Disks) -> None:
    kept = disks.seen_by(server.process.pid, "kept")
    with server.connect() as socket:
        with full("RECORDINGS_DIR"):
            assert ask(socket, recording(7)).transcription == SAID[7]
            until(lambda: "a turn is not recorded: The disk is full" in server.text)
        assert "RECORDINGS_DIR" in server.text
        assert list(kept.glob("*/*")) == []  # no partial recording either
        assert ask(socket, recording(8)).transcription == SAID[8]
        until(lambda: list(kept.glob("*/*.json")))
