"""Transcription APIs of other services, used as their own clients use them."""

import asyncio
import importlib.util
import io
import json
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import srt
import websockets
from websockets.sync.client import connect

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import Recording
from pipeline.transcripts.transcription import likeliest_language
from tests.clips import hearing, recording
from tests.in_process import in_process
from tests.server_process import Service
from tests.stt.recordings import encoded, spliced

TEXTS = ["what time is it", "what day is it today", "what is the date today"]


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("transcribe"), SPEECH_LANGUAGE="en", MAX_FILE_SIZE="20000000") as running:
        yield running


@pytest.fixture(scope="module")
def three() -> tuple[bytes, list[tuple[str, float, float]]]:
    return recording(0, 1, 2)


def post(hears: Service, path: str, wav: bytes, **options: Any) -> httpx.Response:
    return httpx.post(f"{hears.url}{path}", files={"audio_file": ("a.wav", wav)}, timeout=60, **options)


def test_file_is_transcribed(hears: Service, three: Any) -> None:
    answer = post(hears, "/api/v1/transcribe", three[0])
    assert answer.status_code == 200
    assert answer.json() == {"transcription": " ".join(TEXTS)}


@pytest.mark.parametrize(
    ("path", "field"), [("/api/v1/transcribe", "audio_file"), ("/transcribe/", "audio_file"), ("/asr", "audio_file")]
)
def test_errors_have_a_detail_and_a_code(hears: Service, path: str, field: str) -> None:
    missing = httpx.post(f"{hears.url}{path}", files={"other": ("a", b"x")})
    assert missing.status_code == 400
    assert field in missing.json()["detail"]
    bad = post(hears, path, b"no audio at all" * 20)
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "bad_audio")
    assert bad.json()["detail"]
    assert post(hears, path, bytes(21_000_000)).status_code == 413


async def printed_client(uri: str, wav: bytes) -> Any:
    """Client from the other service's documentation, line by line except for its audio and its pauses."""
    async with websockets.connect(uri) as websocket:
        for at in range(0, len(wav), 1024):
            await websocket.send(wav[at : at + 1024])
        await websocket.send(json.dumps({"action": "stop"}))
        response = await websocket.recv()
        return json.loads(response)


def test_documented_client_works_unchanged(hears: Service, three: Any) -> None:
    uri = f"ws://127.0.0.1:{hears.port}/api/v1/streaming"
    assert asyncio.run(printed_client(uri, three[0])) == {"transcription": " ".join(TEXTS)}
    for container, codec, video in (("webm", "libopus", False), ("mp4", "aac", True)):
        data = encoded([spliced([(0.5, 0)])[0]], container, codec, video=video)
        assert asyncio.run(printed_client(uri, data)) == {"transcription": TEXTS[0]}


def streamed(hears: Service, query: str, data: bytes, *, pace_s: float = 0.0) -> list[dict[str, Any]]:
    """Stream one upload; return all messages: partials and then the final one."""
    with connect(f"ws://127.0.0.1:{hears.port}/api/v1/streaming{query}", max_size=None) as socket:
        for at in range(0, len(data), 8_000):
            socket.send(data[at : at + 8_000])
            time.sleep(pace_s)
        socket.send(json.dumps({"action": "stop"}))
        told = [json.loads(socket.recv(timeout=60))]
        while "partial" in told[-1]:
            told.append(json.loads(socket.recv(timeout=60)))
        return told


@pytest.mark.parametrize("kind", ["wav", "webm", "pcm", "mp4"])
def test_partial_results_grow_and_the_final_one_is_complete(hears: Service, three: Any, kind: str) -> None:
    clip, _ = spliced([(0.5, 0), (2.5, 1), (2.5, 2)])
    make: dict[str, Callable[[], bytes]] = {
        "wav": lambda: three[0],
        "webm": lambda: encoded([clip], "webm", "libopus"),
        "pcm": clip.pcm16,
        "mp4": lambda: encoded([clip], "mp4", "aac"),  # its index is at the end: no partials, but the same text
    }
    data = make[kind]()
    query = "?partials=1&rate=16000" if kind == "pcm" else "?partials=1"
    told = streamed(hears, query, data, pace_s=0.05)
    assert told[-1] == {"transcription": " ".join(TEXTS)}
    shown = [one["partial"] for one in told[:-1]]
    if kind != "mp4":
        assert len(shown) >= 2
        assert shown[0] != told[-1]["transcription"]
    for before, after in pairwise(shown):
        assert after.startswith(before), shown


def test_raw_samples_are_accepted_at_their_rate(hears: Service) -> None:
    clip, _ = spliced([(0.5, 0)])
    assert streamed(hears, "?rate=48000", clip.at(48_000).pcm16()) == [{"transcription": TEXTS[0]}]


def test_streaming_connection_continues_after_an_error(hears: Service, three: Any) -> None:
    with connect(f"ws://127.0.0.1:{hears.port}/api/v1/streaming", max_size=None) as socket:

        def told() -> Any:
            return json.loads(socket.recv(timeout=60))

        socket.send('{"action": "stop"}')
        assert told()["error"]["code"] == "empty_message"
        socket.send("what?")
        assert told()["error"]["code"] == "unsupported_message"
        socket.send(b"no audio at all" * 50)
        socket.send('{"action": "stop"}')
        refused = told()["error"]
        assert refused["code"] == "bad_audio"
        assert "?rate=16000" in refused["message"]
        for _ in range(2):
            socket.send(three[0])
            socket.send('{"action": "stop"}')
            assert told() == {"transcription": " ".join(TEXTS)}
        for _ in range(21):
            socket.send(bytes(1_000_000))
        assert told()["error"]["code"] == "file_too_large"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            told()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    with connect(f"ws://127.0.0.1:{hears.port}/api/v1/streaming?rate=fast") as socket:
        assert json.loads(socket.recv())["error"]["code"] == "bad_parameter"


def test_the_next_recording_can_follow_an_answer_at_once(hears: Service) -> None:
    with connect(f"ws://127.0.0.1:{hears.port}/api/v1/streaming") as socket:
        for _ in range(300):
            socket.send(b"no audio at all")
            socket.send('{"action": "stop"}')
            assert json.loads(socket.recv(timeout=60))["error"]["code"] == "bad_audio"


@pytest.mark.parametrize("query", ["", "?partials=1"])
def test_disconnecting_client_frees_its_slot(hears: Service, three: Any, query: str) -> None:
    for _ in range(3):
        with connect(f"ws://127.0.0.1:{hears.port}/api/v1/streaming{query}") as socket:
            socket.send(three[0])
            socket.send('{"action": "stop"}')
    assert streamed(hears, query, three[0])[-1] == {"transcription": " ".join(TEXTS)}


def test_whisperx_response_has_segments_and_words(hears: Service, three: Any) -> None:
    answer = post(hears, "/transcribe/", three[0], data={"model_name": "medium", "language": "en", "batch_size": "8"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) >= {"segments", "word_segments", "language"}
    assert told["language"] == "en"
    assert [segment["text"] for segment in told["segments"]] == TEXTS
    assert [word["word"] for word in told["word_segments"]] == " ".join(TEXTS).split()
    assert all(set(word) >= {"word", "start", "end", "score"} for word in told["word_segments"])
    assert [word for segment in told["segments"] for word in segment["words"]] == told["word_segments"]
    for segment, (_, start_s, _) in zip(told["segments"], three[1], strict=True):
        assert segment["start"] == pytest.approx(start_s, abs=0.6)


@pytest.mark.parametrize(("asked", "told"), [({}, "en"), ({"language": "pt"}, "pt"), ({"language": "French"}, "fr")])
def test_whisperx_response_has_a_language_for_silence(tmp_path: Path, asked: dict[str, str], told: str) -> None:
    silence = encode_wav(Clip(np.zeros(32_000, np.float32), 16_000))
    with in_process(tmp_path) as service:
        answer = post(service, "/transcribe/", silence, data=asked).json()
    assert (answer["language"], answer["segments"], answer["text"]) == (told, [], "")


@pytest.mark.parametrize("path", ["/transcribe/", "/asr"])
def test_max_speakers_below_min_speakers_is_rejected(hears: Service, three: Any, path: str) -> None:
    wanted = {"min_speakers": 3, "max_speakers": 1}
    asked: Any = {"params": {**wanted, "diarize": True}} if path == "/asr" else {"data": {**wanted, "diarize_audio": 1}}
    answer = post(hears, path, three[0], **asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter")


def test_whisperx_fields_have_defaults_and_are_validated(hears: Service, three: Any) -> None:
    assert post(hears, "/transcribe/", three[0]).status_code == 200
    plain = post(hears, "/transcribe/", three[0], data={"align_audio": "false"}).json()
    assert plain["word_segments"] == []
    assert "words" not in plain["segments"][0]
    for wrong in ({"model_name": "huge"}, {"batch_size": "0"}, {"min_speakers": "3", "max_speakers": "2"}):
        answer = post(hears, "/transcribe/", three[0], data=wrong)
        assert answer.status_code in (400, 404)
        assert answer.json()["detail"]


def test_health_has_the_documented_fields(hears: Service) -> None:
    told = httpx.get(f"{hears.url}/health").json()
    assert set(told) >= {"status", "device_available", "torch_version", "cuda_available"}
    assert told["status"] == "ok"


def test_health_searches_for_libraries_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched, search = list[str](), importlib.util.find_spec

    def noted(name: str, package: str | None = None) -> ModuleSpec | None:
        searched.append(name)
        return search(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", noted)
    with in_process(tmp_path) as running:
        first = httpx.get(f"{running.url}/health").json()
        assert {"torch", "pyannote"} <= set(searched)
        searched.clear()
        assert httpx.get(f"{running.url}/health").json() == first
    assert searched == []


def test_asr_supports_all_formats_and_options(hears: Service, three: Any) -> None:
    one, _ = recording(0)

    def asr(query: str, wav: bytes = one) -> httpx.Response:
        answer = post(hears, f"/asr?language=en&{query}", wav)
        assert answer.status_code == 200, answer.text
        assert answer.headers["asr-engine"] == "whisper"
        return answer

    assert asr("", three[0]).text.splitlines() == TEXTS
    assert [cue.content for cue in srt.parse(asr("output=srt", three[0]).text)] == TEXTS
    assert asr("output=vtt").text.startswith("WEBVTT")
    assert asr("output=tsv").text.splitlines()[0] == "start\tend\ttext"
    told = asr("output=json&word_timestamps=true&task=transcribe&vad_filter=true&encode=true&initial_prompt=").json()
    assert (told["text"], told["language"]) == (TEXTS[0], "en")
    assert [word["word"] for word in told["segments"][0]["words"]] == TEXTS[0].split()
    narrow = list(srt.parse(asr("output=srt&line_width=10&max_lines=1").text))
    assert len(narrow) > 1
    assert all(len(cue.content) <= 10 for cue in narrow)


def test_asr_accepts_raw_samples_from_bazarr(hears: Service) -> None:
    clip, _ = spliced([(0.5, 0)])
    answer = post(hears, "/asr?task=transcribe&language=en&output=srt&encode=false", clip.pcm16())
    assert [one.content for one in srt.parse(answer.text)] == [TEXTS[0]]


def test_audio_track_is_selected(hears: Service) -> None:
    film = encoded([spliced([(1.0, number)])[0] for number in (0, 1)], "matroska", "libopus")

    def heard(track: dict[str, str]) -> list[Any]:
        return [
            post(hears, "/asr", film, params={"language": "en", **track}).text.strip(),
            post(hears, "/transcribe/", film, data={"language": "en", **track}).json()["text"],
            post(hears, "/api/v1/transcribe", film, data={"language": "en", **track}).json()["transcription"],
        ]

    first, second = heard({}), heard({"audio_track": "1"})
    assert first == heard({"audio_track": "0"})
    assert len(set(first)) == len(set(second)) == 1
    assert first != second
    for path, query in (("/asr", {"params": {"audio_track": 2}}), ("/transcribe/", {"data": {"audio_track": "2"}})):
        answer = post(hears, path, film, **query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter")


def test_language_is_detected(hears: Service, three: Any) -> None:
    for query, data in (("", three[0]), ("?encode=false", spliced([(0.5, 0)])[0].pcm16())):
        told = post(hears, f"/detect-language{query}", data).json()
        assert (told["detected_language"], told["language_code"]) == ("english", "en")
        assert 0 < told["confidence"] <= 1


def test_language_is_detected_after_a_long_silence(hears: Service) -> None:
    """The first 30 s of speech are used, wherever they are: Bazarr treats "unknown" as an error."""
    clip = spliced([(75.0, 0), (1.0, 1)])[0]
    told = post(hears, "/detect-language?encode=false", clip.pcm16()).json()
    assert (told["detected_language"], told["language_code"]) == ("english", "en")
    assert told["confidence"] > 0


class Tells:
    """A recogniser that names a language, and keeps the sound that it was asked about."""

    sound: Clip

    async def language_of(self, clip: Clip) -> tuple[str, float]:
        self.sound = clip
        return "pt", 0.9


@pytest.mark.parametrize("speech_s", [0, 5, 40])
async def test_language_is_detected_from_speech_after_music(speech_s: int) -> None:
    """Only speech is heard, and at most 30 s of it; without speech, the beginning."""
    at = np.arange(20 * 16_000) / 16_000
    chords = sum(np.sin(2 * np.pi * pitch * at) for pitch in (220.0, 277.2, 329.6)) * (0.1 + 0.05 * np.sin(2 * at))
    music = Clip(chords.astype(np.float32), 16_000)
    speech = spliced([(10.0, 0)] + [(0.3, number) for number in range(40)])[0]
    speech = Clip(speech.samples[: (10 + speech_s) * 16_000], 16_000)
    recording = Recording(io.BytesIO(encode_wav(Clip.join([music, speech], 16_000))), max_seconds=300)
    stt = Tells()
    assert await likeliest_language(stt, recording, 30.0) == ("pt", 0.9)  # type: ignore[arg-type]
    wanted = {0: 30.0, 5: 5.0, 40: 30.0}[speech_s]
    assert stt.sound.seconds == pytest.approx(wanted, abs=1.5)
    heard = Clip(stt.sound.samples[: 5 * 16_000], 16_000)
    assert (np.abs(np.corrcoef(heard.samples, music.samples[: len(heard.samples)])[0, 1]) > 0.9) == (speech_s == 0)


def test_silence_gets_the_default_language(hears: Service) -> None:
    silence = bytes(2 * 16_000 * 70)
    told = post(hears, "/detect-language?encode=false", silence).json()
    assert (told["detected_language"], told["language_code"]) == ("english", "en")
    assert 0 <= told["confidence"] <= 1
    heard = post(hears, "/asr?encode=false&output=json", silence).json()
    assert (heard["text"], heard["language"], heard["segments"]) == ("", "en", [])
    assert post(hears, "/detect-language?encode=false", b"").status_code == 400


def test_every_endpoint_requires_a_key(tmp_path: Path) -> None:
    wav, _ = recording(0)
    with hearing(tmp_path, API_KEYS="right") as locked:
        for path in ("/api/v1/transcribe", "/transcribe/", "/asr", "/detect-language"):
            refused = post(locked, path, wav)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert post(locked, path, wav, headers={"Authorization": "Bearer right"}).status_code == 200
        with pytest.raises(websockets.InvalidStatus) as raised:
            streamed(locked, "", wav)
        assert raised.value.response.status_code == 401
