"""Hostile files sent over every transport of a running service: one request fails, and others are served."""

import base64
import json
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import psutil
import pytest

from tests import forked
from tests.decode.bombs import BOMBS
from tests.decode.test_processes import SDP, udp_ports
from tests.decode.test_sound import fmt, wave
from tests.questions import sample
from tests.server_process import (
    END_S,
    ServerProcess,
    ask,
    constants,
    environment,
    error_code,
    receive,
    refused,
    serving,
)
from tests.stt.recordings import TRAINED
from tests.waiting import left_of, until

QUESTION = "what_is_two_plus_three"
FLAC, TAGS = BOMBS["flac"]
BOMB = FLAC(TAGS)


@cache
def long_bomb() -> bytes:
    """A file that keeps a file decoder busy until its time limit."""
    return FLAC(3 * TAGS)


DECODERS = "pipeline.audio.decode.processes"
SOON = constants({f"{DECODERS}:FILES.open_s": 0.5, f"{DECODERS}:TURNS.open_s": 0.3})
"""CPU seconds that a decoder has for the tags of a file: fewer, because each of them is used up here."""
BAD_WAV = wave(fmt(bits=0), bytes(4000))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("media"), JOB_WORKERS="1", **TRAINED, **SOON) as running:
        yield running


@pytest.fixture
def client(service: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as opened:
        yield opened


def decoders(service: ServerProcess) -> list[psutil.Process]:
    """Processes that are decoding a file now."""
    found = []
    for child in psutil.Process(service.process.pid).children():
        if "pipeline.audio.decode.zygote" in child.cmdline():
            found += [one for one in child.children() if one.status() != psutil.STATUS_ZOMBIE]
    return found


def test_hostile_messages_do_not_block_other_turns(service: ServerProcess) -> None:
    with service.connect() as other:
        hostile = [service.connect() for _ in range(4)]
        for connection in hostile:
            connection.send(BOMB)
        until(lambda: decoders(service))
        assert ask(other, sample(QUESTION)).transcription
        for connection in hostile:
            assert error_code(receive(connection)) == "bad_audio"
            connection.close()
        until(lambda: not decoders(service))


def test_a_disconnect_ends_the_decoder(service: ServerProcess) -> None:
    with service.connect() as connection:
        connection.send(BOMB)
        until(lambda: decoders(service))
    until(lambda: not decoders(service))


def test_a_session_description_opens_no_port_in_the_service(service: ServerProcess) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with service.connect() as connection:
        assert refused(connection, SDP % port) == "bad_audio"
        assert port not in udp_ports()
        assert ask(connection, sample(QUESTION)).transcription


@pytest.mark.parametrize("data", [BAD_WAV, BOMB, SDP % 45_678, b"RIFF\xff\xff\xff\xffWAVEfmt "],
                         ids=["bits", "tags", "sdp", "broken"])  # fmt: skip
def test_every_api_reports_bad_files_in_its_own_form(service: ServerProcess, client: httpx.Client, data: bytes) -> None:
    file = {"file": ("a.wav", data)}
    endpoints = [("/v1/audio/transcriptions", {"model": "whisper-1"}), ("/transcribe/", {}), ("/asr", {})]
    for path, form in endpoints[:1] if data is BOMB else endpoints:  # it uses the decoder's whole time limit
        files = {"audio_file": file["file"]} if path == "/asr" else file
        answer = client.post(path, files=files, data=form)
        assert answer.status_code in (400, 415, 422), (path, answer.text)
        assert "bad_audio" in answer.text or "could not" in answer.text or "not audio" in answer.text, answer.text
    answer = client.post("/v1/audio/voices", files={"audio_sample": file["file"]}, data={"name": "x", "consent": "y"})
    assert answer.status_code == 400
    reference = "data:audio/wav;base64," + base64.b64encode(data).decode()
    answer = client.post(
        "/v1/audio/transcriptions", files={"file": ("a.wav", sample(QUESTION))},
        data={"model": "whisper-1", "response_format": "diarized_json", "known_speaker_names[]": "x",
              "known_speaker_references[]": reference},
    )  # fmt: skip
    assert answer.status_code in (400, 503), answer.text
    with service.connect("?stream=1") as live:
        live.send(data)
        kinds = []
        while (told := json.loads(live.recv(timeout=60)))["type"] != "error":
            kinds.append(told["type"])
        assert told["code"] == "bad_audio", kinds


def made(client: httpx.Client, data: bytes) -> str:
    answer = client.post("/jobs", files={"files": ("a.flac", data)}, data={"language": "en"}).raise_for_status()
    return str(answer.json()["jobs"][0]["job_id"])


def status(client: httpx.Client, job_id: str) -> str:
    return str(client.get(f"/jobs/{job_id}").json()["status"])


def test_a_job_cancelled_while_decoding_frees_the_worker(service: ServerProcess, client: httpx.Client) -> None:
    hostile = made(client, long_bomb())
    behind = made(client, sample(QUESTION))
    until(lambda: decoders(service))
    assert status(client, behind) == "queued"
    assert client.post(f"/jobs/{hostile}/cancel").json()["status"] == "cancelled"
    until(lambda: status(client, behind) == "completed")
    assert not decoders(service)
    assert status(client, hostile) == "cancelled"


def test_a_hostile_job_fails_and_the_next_is_done(client: httpx.Client) -> None:
    hostile, behind = made(client, long_bomb()), made(client, sample(QUESTION))
    until(lambda: status(client, hostile) not in ("queued", "processing"))
    until(lambda: status(client, behind) == "completed")
    job = client.get(f"/jobs/{hostile}").json()
    assert (job["status"], job["error"]["code"]) == ("failed", "bad_audio")


def test_a_service_with_a_hostile_job_shuts_down(tmp_path: Path) -> None:
    with serving(tmp_path, DRAIN_SECONDS="1") as service:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            made(client, long_bomb())
            until(lambda: decoders(service))
            working = decoders(service)
        service.end()
        assert not left_of(working, END_S)


@pytest.mark.parametrize("closing", [False, True])
def test_an_endless_thread_does_not_keep_the_process_alive(closing: bool, tmp_path: Path) -> None:
    arguments = ["closing"] if closing else []
    ended = forked.run(*arguments, folder=tmp_path, env=environment(), timeout_s=END_S, module="tests.endless_thread")
    assert ended.returncode == (3 if closing else 0), ended.stderr
    assert ("closed" in ended.stdout) is not closing
