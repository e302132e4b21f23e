"""Requests of other programs, as their public sources send them (docs/clients.md), against the running service.

Each test sends what one program sends, with its field names, file names and headers, and reads what it reads.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import srt
from websockets.sync.client import connect

from pipeline.audio.decode import decode_blocking
from tests.clips import hearing, recording
from tests.in_process import in_process
from tests.realtime.client import EVENT_S
from tests.server_process import Service
from tests.stt.recordings import encoded, spliced

KEY = "a-key-of-thirty-two-characters-01"
BEARER = {"Authorization": f"Bearer {KEY}"}
SAID = "what time is it"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("clients"), API_KEYS=KEY, PUBLIC_LISTS="true") as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as opened:
        yield opened


def spoken_seconds(answer: httpx.Response) -> float:
    """Return the length of the speech in a response."""
    assert answer.status_code == 200, answer.text
    return decode_blocking(answer.content, max_seconds=60).seconds


def test_open_webui_lists_transcribes_and_speaks(client: httpx.Client) -> None:
    voices = client.get("/v1/audio/voices").json()["voices"]  # without a key
    models = client.get("/v1/audio/models").json()["models"]
    assert {one["id"] for one in voices} >= {"man", "woman"}
    assert all(one["name"] for one in voices)
    assert models
    assert all(one["id"] for one in models)
    webm = encoded([spliced([(0.5, 0)])[0]], "webm", "libopus")
    sent: dict[str, Any] = {"files": {"file": ("3f2a.webm", webm)}, "headers": BEARER}
    for fields in ({"model": "whisper-1", "language": "en"}, {"model": ""}):
        assert client.post("/v1/audio/transcriptions", data=fields, **sent).json()["text"] == SAID
    asked = {"model": models[0]["id"], "input": "Good morning.", "voice": "alloy"}
    answer = client.post("/v1/audio/speech", json=asked, headers=BEARER)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert spoken_seconds(answer) > 0.5
    # Its error message is `error.message`.
    refused = client.post("/v1/audio/speech", json={**asked, "model": "absent"}, headers=BEARER)
    assert "absent" in refused.json()["error"]["message"]


class Bridge:
    """The side of Open WebUI's voice calls that talks with `/v1/realtime`."""

    def __init__(self, service: Service) -> None:
        url = f"ws://127.0.0.1:{service.port}/v1/realtime?model=gpt-realtime-2.1-mini"
        self.socket = connect(url, additional_headers=BEARER, max_size=512 * 1024)

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def until(self, kind: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = json.loads(self.socket.recv(EVENT_S))
            assert event["type"] != "error", event
            if event["type"] == kind:
                return event


def test_open_webui_holds_a_voice_call(service: Service) -> None:
    """The service detects the turns; Open WebUI requests each answer when the transcript is final."""
    bridge = Bridge(service)
    with bridge.socket:
        bridge.until("session.created")
        tool = {"type": "function", "name": "generate_chat_completion", "parameters": {"type": "object"}}
        pcm = {"type": "audio/pcm", "rate": 24_000}
        detection = {"type": "server_vad", "interrupt_response": False, "create_response": False}
        hears = {"format": pcm, "transcription": {"model": "gpt-transcribe"}, "turn_detection": detection}
        session = {
            "type": "realtime", "output_modalities": ["audio"], "instructions": "Be brief.",
            "audio": {"input": hears, "output": {"format": pcm, "voice": "marin"}},
            "tools": [tool], "tool_choice": "auto",
        }  # fmt: skip
        bridge.send("session.update", session=session)
        bridge.until("session.updated")
        content = [{"type": "input_text", "text": "Current chat snapshot: []"}]
        context = {"id": "chat_context_1", "type": "message", "role": "system", "content": content}
        bridge.send("conversation.item.create", item=context)
        sound = spliced([(0.5, 0)], tail_s=2.0)[0].at(24_000)
        for start in range(0, len(sound.samples), 4_800):
            chunk = type(sound)(sound.samples[start : start + 4_800], 24_000)
            bridge.send("input_audio_buffer.append", audio=base64.b64encode(chunk.pcm16()).decode())
        heard = bridge.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"].strip() == SAID
        bridge.send("response.create", response={"metadata": {"input_item_id": heard["item_id"]}})
        created = bridge.until("response.created")["response"]
        assert created["metadata"] == {"input_item_id": heard["item_id"]}
        assert len(base64.b64decode(bridge.until("response.output_audio.delta")["delta"])) % 2 == 0
        assert bridge.until("response.done")["response"]["status"] == "completed"
        bridge.send("conversation.item.delete", item_id="chat_context_1")
        bridge.until("conversation.item.deleted")


def test_bazarr_detects_the_language_and_gets_subtitles(client: httpx.Client) -> None:
    """Bazarr sends raw samples of the whole film, which can begin with a minute without speech."""
    film = spliced([(65.0, 0), (3.0, 1)])[0].pcm16()
    sent: dict[str, Any] = {"files": {"audio_file": ("audio_file", film)}, "headers": BEARER}
    told = client.post("/detect-language", params={"encode": "false"}, **sent).json()
    assert (told["detected_language"], told["language_code"]) == ("english", "en")
    wanted = {"task": "transcribe", "language": told["language_code"], "output": "srt", "encode": "false"}
    cues = list(srt.parse(client.post("/asr", params=wanted, **sent).text))
    assert [cue.content for cue in cues] == [SAID, "what day is it today"]
    assert cues[0].start.total_seconds() == pytest.approx(65, abs=1)


def test_librechat_transcribes_and_speaks(client: httpx.Client) -> None:
    webm = encoded([spliced([(0.5, 0)])[0]], "webm", "libopus")
    fields = {"model": "whisper-1", "language": "en"}
    sent: dict[str, Any] = {"files": {"file": ("audio.webm", webm, "audio/webm")}, "headers": BEARER}
    assert client.post("/v1/audio/transcriptions", data=fields, **sent).json()["text"].strip() == SAID
    asked = {"input": "Good morning.", "model": "tts-1", "voice": "woman", "backend": "kokoro"}
    assert spoken_seconds(client.post("/v1/audio/speech", json=asked, headers=BEARER)) > 0.5


def test_sillytavern_transcribes_and_speaks(client: httpx.Client) -> None:
    fields = {"model": "whisper-1", "language": "en"}
    sent: dict[str, Any] = {"files": {"file": ("audio.wav", recording(0)[0], "audio/wav")}, "headers": BEARER}
    assert client.post("/v1/audio/transcriptions", data=fields, **sent).json()["text"] == SAID
    asked = {"input": "Good morning.", "response_format": "mp3", "voice": "onyx", "speed": 1.25, "model": "tts-1"}
    assert spoken_seconds(client.post("/v1/audio/speech", json=asked, headers=BEARER)) > 0.4
    # An extension that changes the text can leave nothing to say.
    assert spoken_seconds(client.post("/v1/audio/speech", json={**asked, "input": "…"}, headers=BEARER)) > 0


def test_n8n_checks_its_credential_transcribes_and_speaks(client: httpx.Client) -> None:
    headers = {**BEARER, "OpenAI-Organization": ""}
    assert client.get("/v1/models", headers=headers).json()["object"] == "list"
    fields = {"model": "whisper-1", "language": "en", "temperature": "0.2"}
    sent: dict[str, Any] = {"files": {"file": ("call.wav", recording(0)[0], "audio/wav")}, "headers": headers}
    for path in ("transcriptions", "translations"):
        assert client.post(f"/v1/audio/{path}", data=fields, **sent).json()["text"]
    asked = {"model": "tts-1-hd", "input": "Good morning.", "voice": "shimmer", "response_format": "opus", "speed": 1}
    answer = client.post("/v1/audio/speech", json=asked, headers=headers)
    assert spoken_seconds(answer) > 0.5


def test_placeholder_keys_are_accepted_where_no_key_is_needed(tmp_path: Path) -> None:
    """Programs whose key field is empty still send the header."""
    asked = {"input": "Good morning.", "model": "tts-1", "voice": "alloy"}
    with in_process(tmp_path) as service:
        for header in ("Bearer", "Bearer none", "Bearer undefined"):
            answer = httpx.post(f"{service.url}/v1/audio/speech", json=asked, headers={"Authorization": header})
            assert spoken_seconds(answer) > 0.5


def test_kokoro_fastapi_clients_get_speech_with_the_times_of_its_words(client: httpx.Client) -> None:
    text = "Good morning to you all. It is three o'clock."
    asked = {
        "model": "kokoro", "voice": "af_heart", "input": text, "speed": 1.0, "response_format": "wav",
        "return_timestamps": True,
    }  # fmt: skip
    path = "/dev/captioned_speech"
    whole = client.post(path, json={**asked, "stream": False}, headers=BEARER)
    assert (whole.status_code, set(whole.json())) == (200, {"audio", "audio_format", "timestamps"})
    sound = base64.b64decode(whole.json()["audio"])
    seconds = decode_blocking(sound, max_seconds=60).seconds
    times = [time for word in whole.json()["timestamps"] for time in (word["start_time"], word["end_time"])]
    assert (times, times[0] >= 0, times[-1] <= seconds + 0.1) == (sorted(times), True, True)
    assert " ".join(word["word"] for word in whole.json()["timestamps"]) == text
    with client.stream("POST", path, json=asked, headers=BEARER) as answer:  # its default is a stream
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert len(lines) >= 2
    assert all(set(line) == {"audio", "audio_format", "timestamps"} for line in lines)
    assert b"".join(base64.b64decode(line["audio"]) for line in lines) == sound
    assert [word for line in lines for word in line["timestamps"]] == whole.json()["timestamps"]
    silent = client.post(path, json={**asked, "stream": False, "return_timestamps": False}, headers=BEARER).json()
    assert (base64.b64decode(silent["audio"]), silent["timestamps"]) == (sound, [])


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"voice": "am_adam"}, None),
        ({"voice": "woman", "lang_code": "b"}, None),
        ({"voice": "af_bella(2)+af_sky(1)"}, "voice"),
        ({"volume_multiplier": 2.0, "return_download_link": True}, "volume_multiplier, return_download_link"),
        ({"normalization_options": {"normalize": False}}, "normalization_options"),
    ],
)
def test_kokoro_fastapi_fields_without_effect_are_told(
    client: httpx.Client, fields: dict[str, Any], ignored: str | None
) -> None:
    answer = client.post("/dev/captioned_speech", json={"input": "Good morning.", **fields}, headers=BEARER)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("parley-ignored") == ignored
    assert all(json.loads(line)["audio_format"] == "audio/mpeg" for line in answer.iter_lines())


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"voice": "absent"}, 400), ({"model": "absent"}, 404), ({"lang_code": "??"}, 400), ({"input": ""}, 400)],
)
def test_kokoro_fastapi_clients_get_errors_with_a_detail(
    client: httpx.Client, fields: dict[str, Any], status: int
) -> None:
    answer = client.post("/dev/captioned_speech", json={"input": "Good morning.", **fields}, headers=BEARER)
    assert answer.status_code == status
    assert answer.json()["detail"] == answer.json()["error"]["message"]
