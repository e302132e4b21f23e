"""A language that the model lacks is refused at once at every endpoint, in its own form, and before a file is read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.folders.test_watcher import watching
from tests.live_client import Live
from tests.real_models import real_whisper
from tests.realtime.client import talking
from tests.scripted import ScriptedSTT
from tests.server_process import TURN_S, Service
from tests.telephone.twilio import TOKEN, ring
from tests.waiting import until

UNREADABLE = b"not a recording, which a work that had begun would find out"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that hears by PocketSphinx, which understands English only."""
    with in_process(tmp_path_factory.mktemp("service"), STT_ENGINE="sphinx", URL_ALLOW="127.0.0.1") as service:
        yield service


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with Whisper tiny.en for conversations, and a persona in Portuguese."""
    folder = tmp_path_factory.mktemp("english")
    (folder / "personas").mkdir()
    (folder / "personas" / "teacher.toml").write_text('language = "pt"\n')
    with in_process(folder, **real_whisper(), VOICES_DIR=str(folder / "voices"), TWILIO_AUTH_TOKEN=TOKEN) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "field", "form", "query"),
    [
        ("/jobs", "files", {"language": "de"}, {}),
        ("/jobs", "files", {"languages": "de,pt"}, {}),
        ("/jobs", "files", {"language": "de", "translate": "true"}, {}),
        ("/api/v1/upload/file", "file", {"language": "de"}, {}),
        ("/v1/audio/transcriptions", "file", {"language": "de", "model": "whisper-1"}, {}),
        ("/v1/audio/transcriptions", "file", {"language": "de", "model": "whisper-1", "stream": "true"}, {}),
        ("/api/v1/transcribe", "audio_file", {"language": "de"}, {}),
        ("/transcribe/", "audio_file", {"language": "de"}, {}),
        ("/asr", "audio_file", {}, {"language": "de"}),
        ("/asr", "audio_file", {}, {"language": "de", "task": "translate"}),
    ],
)
def test_a_file_is_refused(
    client: httpx.Client, path: str, field: str, form: dict[str, str], query: dict[str, str]
) -> None:
    answer = client.post(path, files={field: ("a.wav", UNREADABLE)}, data=form, params=query)
    assert answer.status_code == 400
    told = answer.json()
    error: dict[str, Any] = told.get("error", told)
    assert error.get("code", "unsupported_language") == "unsupported_language"
    assert "understands English only" in answer.text
    assert client.get("/queues").json()["total"] == 0


def test_english_is_not_refused(client: httpx.Client) -> None:
    for form in ({"language": "en-GB"}, {"language": "en", "translate": "true"}, {"languages": "de,en"}):
        made = client.post("/jobs", files={"files": ("a.wav", recording(0))}, data=form)
        assert made.status_code == 202, made.text
        client.delete(f"/jobs/{made.json()['jobs'][0]['job_id']}")


def test_an_address_and_a_job_that_exists_are_refused(client: httpx.Client) -> None:
    answer = client.post("/api/v1/upload/url", json={"url": "http://127.0.0.1:9/a.wav", "language": "de"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_language")
    [job] = client.post("/jobs", files={"files": ("a.wav", recording(0))}).json()["jobs"]
    again = client.post(f"/jobs/{job['job_id']}/again", json={"language": "de"})
    assert (again.status_code, again.json()["error"]["code"]) == (400, "unsupported_language")
    client.delete(f"/jobs/{job['job_id']}")


def test_a_translation_is_refused_where_the_model_cannot_make_it(tmp_path: Path) -> None:
    hears = ScriptedSTT("guten Tag", languages=("de", "en"), translates=False)
    with in_process(tmp_path, heard=hears) as service, httpx.Client(base_url=service.url, timeout=60) as client:
        job = client.post("/jobs", files={"files": ("a.wav", UNREADABLE)}, data={"translate": "true"})
        request = client.post(
            "/v1/audio/translations", files={"file": ("a.wav", UNREADABLE)}, data={"model": "whisper-1"}
        )
        for answer in (job, request):
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_language")
            assert "cannot translate" in answer.text
        english = client.post(
            "/jobs", files={"files": ("a.wav", UNREADABLE)}, data={"translate": "true", "language": "en"}
        )
        assert english.status_code == 202


def test_a_streamed_recording_is_refused_before_it_is_sent(service: Service) -> None:
    with connect(f"ws://127.0.0.1:{service.port}/api/v1/streaming?language=de") as connection:
        assert json.loads(connection.recv(60))["error"]["code"] == "unsupported_language"
        with pytest.raises(ConnectionClosed):
            connection.recv(60)


def test_a_watched_folder_says_it_before_it_begins_a_file(tmp_path: Path) -> None:
    english = ScriptedSTT("hello", languages=("en",))
    with watching(tmp_path, heard=english, SPEECH_LANGUAGE="de", WATCH_FORMATS="txt") as watched:
        watched.put("talk.wav")
        until(lambda: watched.shown()["status"] == "blocked")
        assert "understands English only" in watched.shown()["message"]
        assert (watched.jobs(), watched.shown()["waiting"]) == ([], 1)
        watched.becomes("talk.wav")


@pytest.mark.parametrize("kind", ["realtime", "transcription"])
async def test_realtime_refuses_it_at_the_update_and_changes_nothing(english: Service, kind: str) -> None:
    async with talking(english.url, **({"intent": kind} if kind == "transcription" else {})) as talk:
        wishes: list[tuple[str, object]] = [
            ("language", "pt"), ("language", "Portuguese"), ("languages", ["pt", "es"]),
        ]  # fmt: skip
        for field, wish in wishes:
            heard = {"transcription": {field: wish}, "turn_detection": None}
            await talk.send(type="session.update", event_id="mine", session={"type": kind, "audio": {"input": heard}})
            error = await talk.error()
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
            assert (error["param"], error["event_id"]) == (f"session.audio.input.transcription.{field}", "mine")
            assert "tiny.en (int8) understands English only; the requested language is 'pt'" in error["message"]
        good = {"transcription": {"languages": ["pt", "en-GB"]}}
        await talk.send(type="session.update", session={"type": kind, "audio": {"input": good}})
        heard = (await talk.until("session.updated"))["session"]["audio"]["input"]
        assert heard["turn_detection"]["type"] == "server_vad", "the refused updates have changed nothing"
        assert heard["transcription"]["languages"] == ["pt", "en-GB"]


@pytest.mark.parametrize("kind", ["realtime", "transcription"])
def test_no_client_secret_is_made_for_it(english: Service, kind: str) -> None:
    path = f"{english.url}/v1/realtime/client_secrets"
    session: dict[str, Any] = {"type": kind, "audio": {"input": {"transcription": {"language": "pt"}}}}
    answer = httpx.post(path, json={"session": session}, timeout=TURN_S)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "session.audio.input.transcription.language"
    session["audio"]["input"]["transcription"]["language"] = "en"
    httpx.post(path, json={"session": session}, timeout=TURN_S).raise_for_status()


@pytest.mark.parametrize("query", ["language=pt-BR", "persona=teacher"])
def test_a_conversation_in_it_can_be_typed(english: Service, query: str) -> None:
    with Live(english, f"rate=16000&{query}") as live:
        live.tell("say", text="que horas são")
        assert live.until("turn_completed")["reply"].startswith(("São", "É"))


def test_a_call_is_refused_before_it_is_answered(english: Service) -> None:
    answer = ring(english.url, "?language=pt")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_language")
    assert ring(english.url, "?language=en-US").status_code == 200
