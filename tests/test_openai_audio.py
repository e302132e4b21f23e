"""OpenAI's audio API, used through OpenAI's own client, which validates every response against its types."""

import base64
import contextlib
import io
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import srt
import webvtt

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode_blocking
from tests.clips import hearing, hearing_process, long_recording, recording
from tests.server_process import ServerProcess
from tests.strict_client import strict_client
from tests.stt.recordings import encoded, spliced
from tests.waiting import until

TEXTS = ["what time is it", "what day is it today", "what is the date today"]


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with hearing_process(tmp_path_factory.mktemp("openai"), MAX_FILE_SIZE="60000000") as running:
        yield running


@pytest.fixture(scope="module")
def client(hears: ServerProcess) -> Iterator[openai.OpenAI]:
    with strict_client(hears) as client:
        yield client


@pytest.fixture(scope="module")
def three() -> tuple[bytes, list[tuple[str, float, float]]]:
    wav, truth = recording(0, 1, 2)
    assert [text for text, _, _ in truth] == TEXTS
    return wav, truth


def transcribe(client: openai.OpenAI, wav: bytes, **options: Any) -> Any:
    return client.audio.transcriptions.create(
        **{"file": ("speech.wav", wav), "model": "whisper-1", "language": "en", **options}
    )


def test_json_response_has_text_and_usage(client: openai.OpenAI, three: Any) -> None:
    answer = transcribe(client, three[0])
    assert answer.text == " ".join(TEXTS)
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(three[1][-1][2] + 1, abs=1.01)


def test_text_srt_and_vtt_responses(client: openai.OpenAI, three: Any) -> None:
    assert transcribe(client, three[0], response_format="text") == " ".join(TEXTS) + "\n"
    subtitles = list(srt.parse(transcribe(client, three[0], response_format="srt")))
    assert [one.content for one in subtitles] == TEXTS
    captions = webvtt.from_buffer(io.StringIO(transcribe(client, three[0], response_format="vtt"))).captions
    assert [one.text for one in captions] == TEXTS
    for one, (_, start_s, _) in zip(subtitles, three[1], strict=True):
        assert one.start.total_seconds() == pytest.approx(start_s, abs=0.6)


def test_verbose_json_has_words_and_segments(client: openai.OpenAI, three: Any) -> None:
    answer = transcribe(client, three[0], response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (answer.language, answer.text) == ("english", " ".join(TEXTS))
    assert answer.duration == pytest.approx(three[1][-1][2] + 1, abs=0.01)
    assert "".join(segment.text for segment in answer.segments).strip() == answer.text
    assert [segment.id for segment in answer.segments] == [0, 1, 2]
    assert all(segment.tokens and segment.avg_logprob < 0 for segment in answer.segments)
    assert [word.word for word in answer.words] == answer.text.split()
    starts = [word.start for word in answer.words]
    assert starts == sorted(starts)
    plain = transcribe(client, three[0], response_format="verbose_json")
    assert plain.words is None
    assert plain.segments


def test_logprobs_prompt_temperature_and_chunking_are_supported(client: openai.OpenAI, three: Any) -> None:
    answer = transcribe(client, three[0], include=["logprobs"], chunking_strategy="auto")
    assert [one.token for one in answer.logprobs] == " ".join(TEXTS).split()
    assert all(one.logprob <= 0 for one in answer.logprobs)
    wav, _ = recording(0)
    assert isinstance(transcribe(client, wav, prompt="Alice, Thomas").text, str)
    assert transcribe(client, wav, temperature=0.01).text == TEXTS[0]
    cut = transcribe(
        client, three[0], chunking_strategy={"type": "server_vad", "silence_duration_ms": 800, "threshold": 0.4}
    )
    assert cut.text == " ".join(TEXTS)


def test_stream_sends_deltas_and_a_final_event(client: openai.OpenAI, three: Any) -> None:
    events = list(transcribe(client, three[0], stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == " ".join(TEXTS)
    assert events[-1].usage.total_tokens > 0


def test_first_event_comes_long_before_the_last(client: openai.OpenAI) -> None:
    wav = long_recording(0.5)
    began = time.monotonic()
    times = [time.monotonic() - began for _ in transcribe(client, wav, stream=True)]
    assert len(times) > 5
    assert times[0] < times[-1] / 2


def test_translations_in_all_formats(client: openai.OpenAI) -> None:
    wav, _ = recording(0)
    assert client.audio.translations.create(file=("a.wav", wav), model="whisper-1").text
    verbose = client.audio.translations.create(file=("a.wav", wav), model="whisper-1", response_format="verbose_json")
    assert verbose.language == "english"
    assert verbose.segments
    assert list(
        srt.parse(client.audio.translations.create(file=("a.wav", wav), model="whisper-1", response_format="srt"))
    )


@pytest.mark.parametrize(("container", "codec", "video"), [("webm", "libopus", False), ("mp4", "aac", True)])
def test_any_container_is_accepted_with_any_file_name(
    client: openai.OpenAI, container: str, codec: str, video: bool
) -> None:
    data = encoded([spliced([(0.5, 0)])[0]], container, codec, video=video)
    assert transcribe(client, data, file=("speech.wav", data)).text == TEXTS[0]


def test_silence_has_an_empty_transcript(client: openai.OpenAI) -> None:
    silence = encode_wav(Clip(spliced([(0.5, 0)])[0].samples * 0, 16_000))
    answer = transcribe(client, silence, response_format="verbose_json")
    assert (answer.text, answer.segments) == ("", [])
    events = list(transcribe(client, silence, stream=True))
    assert [(event.type, event.text) for event in events] == [("transcript.text.done", "")]


def refused(call: Any, kind: type[openai.APIStatusError]) -> dict[str, Any]:
    with pytest.raises(kind) as raised:
        call()
    body = raised.value.response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]
    return dict(body)


def test_errors_have_the_documented_body(client: openai.OpenAI, three: Any) -> None:
    wav = three[0]
    unknown = refused(lambda: transcribe(client, wav, model="nothing"), openai.NotFoundError)
    assert (unknown["code"], unknown["param"]) == ("model_not_found", "model")
    bad = refused(lambda: transcribe(client, wav, response_format="mp7"), openai.BadRequestError)
    assert bad["param"] == "response_format"
    assert refused(lambda: transcribe(client, b"no audio" * 99), openai.BadRequestError)["code"] == "bad_audio"
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    assert refused(lambda: transcribe(client, playlist), openai.BadRequestError)["code"] == "bad_audio"
    assert refused(lambda: transcribe(client, b"no audio" * 99, stream=True), openai.BadRequestError)
    assert (
        refused(lambda: transcribe(client, wav, language="xx"), openai.BadRequestError)["code"]
        == "unsupported_language"
    )
    assert refused(lambda: transcribe(client, wav, language="??"), openai.BadRequestError)["param"] == "language"
    no_such = refused(lambda: transcribe(client, wav, extra_body={"audio_track": 7}), openai.BadRequestError)
    assert no_such["param"] == "audio_track"
    no_name = refused(
        lambda: transcribe(client, wav, known_speaker_names=[""], response_format="diarized_json"),
        openai.BadRequestError,
    )
    assert no_name["param"] == "known_speaker_names"
    assert refused(lambda: transcribe(client, b""), openai.BadRequestError)["param"] == "file"
    assert refused(lambda: client.post("/audio/transcriptions", cast_to=object), openai.BadRequestError)
    assert refused(lambda: client.get("/nothing", cast_to=object), openai.NotFoundError)
    assert refused(lambda: client.get("/audio/speech", cast_to=object), openai.APIStatusError)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"type": "server_vad", "threshold": 2}, "chunking_strategy.threshold: Input should be less than"),
        ({"type": "server_vad", "silence_duration_ms": "x"}, "chunking_strategy.silence_duration_ms: Input should be"),
        ({"threshold": 0.5}, "chunking_strategy.type: Field required"),
        ("never", "chunking_strategy: Input should be 'auto'"),
    ],
)
def test_error_in_a_union_field_names_the_intended_variant(
    client: openai.OpenAI, three: Any, asked: Any, told: str
) -> None:
    sent = asked if isinstance(asked, str) else json.dumps(asked)
    answer = httpx.post(
        f"{client.base_url}audio/transcriptions",
        files={"file": three[0]},
        data={"model": "whisper-1", "chunking_strategy": sent},
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "chunking_strategy")
    assert error["message"].startswith(told), error


def test_language_is_accepted_by_code_and_by_name(client: openai.OpenAI) -> None:
    wav, _ = recording(0)
    for language in ("en", "en-US", "English"):
        assert transcribe(client, wav, language=language, response_format="verbose_json").language == "english"


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    there = {model.id for model in client.models.list()}
    assert there >= {
        "whisper-1",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "tts-1",
        "gpt-4o-mini-tts",
        "gpt-realtime",
    }
    assert not any("/" in name and name.startswith("/") for name in there)
    for name in there:
        assert client.models.retrieve(name).id == name
    assert refused(lambda: client.models.retrieve("nothing"), openai.NotFoundError)["code"] == "model_not_found"


def test_too_large_body_is_413_with_and_without_a_content_length(hears: ServerProcess) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        with contextlib.suppress(GeneratorExit):
            for _ in range(70):
                yield bytes(1_000_000)
            yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{hears.url}/v1/audio/transcriptions", content=body(), headers=headers, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "file_too_large"
    known = httpx.post(f"{hears.url}/v1/audio/transcriptions", files={"file": ("a", bytes(61_000_000))}, timeout=60)
    assert known.status_code == 413


def test_health_responds_during_a_transcription(hears: ServerProcess, client: openai.OpenAI) -> None:
    """Responses come repeatedly and never wait for the file. Their latency depends on the load of this machine."""
    wav = long_recording(0.5)
    done = threading.Event()

    def work() -> None:
        transcribe(client, wav)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    times = []
    while not done.is_set():
        began = time.monotonic()
        assert httpx.get(f"{hears.url}/health").status_code == 200
        times.append(time.monotonic() - began)
        time.sleep(0.05)
    worker.join()
    assert len(times) > 3
    assert statistics.median(times) < 1


@pytest.mark.parametrize("stream", [False, True])
def test_disconnecting_client_stops_the_transcription(hears: ServerProcess, stream: bool) -> None:
    wav = long_recording(20)
    request = httpx.Request(
        "POST", f"{hears.url}/v1/audio/transcriptions", files={"file": ("a.wav", wav)},
        data={"model": "whisper-1", "language": "en", "stream": str(stream).lower()},
    )  # fmt: skip
    body = request.read()
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: {request.headers['content-type']}\r\n"
    with socket.create_connection(("127.0.0.1", hears.port)) as connection:
        before_s = hears.busy_s()
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: hears.busy_s() > before_s + 0.5)
    service = psutil.Process(hears.process.pid)
    until(lambda: all(cpu_share(one) < 0.05 for one in hears.workers()) and cpu_share(service) < 0.3, within_s=15)


def cpu_share(process: psutil.Process) -> float:
    """Return the used share of one core over half a second."""
    before = process.cpu_times()
    time.sleep(0.5)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / 0.5


def say(client: openai.OpenAI, text: str, **options: Any) -> bytes:
    wanted = {"model": "tts-1", "voice": "alloy", "input": text, **options}
    return bytes(client.audio.speech.create(**wanted).read())


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_speech_in_every_format(client: openai.OpenAI, kind: str) -> None:
    data = say(client, "Good morning. It is a fine day.", response_format=kind)
    clip = Clip.from_pcm16(data, 24_000) if kind == "pcm" else decode_blocking(data, max_seconds=60)
    assert 1.5 < clip.seconds < 8
    assert float(abs(clip.samples).max()) > 0.1


def test_speed_changes_the_length_of_speech(client: openai.OpenAI) -> None:
    lengths = [
        decode_blocking(
            say(client, "One, two, three, four, five.", response_format="wav", speed=speed), max_seconds=60
        ).seconds
        for speed in (0.5, 1.0, 2.0)
    ]
    assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.15)
    assert lengths[2] == pytest.approx(lengths[1] / 2, rel=0.2)


def test_speech_is_streamed_as_events(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="man",
        input="Hello there. How are you?",
        stream_format="sse",
        response_format="wav",
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
    data = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert data.count(b"RIFF") == 1
    assert decode_blocking(data, max_seconds=60).seconds > 1


def test_first_byte_of_speech_does_not_wait_for_the_whole_text(client: openai.OpenAI) -> None:
    text = "This is one of many sentences that are spoken one after the other. "

    def first_byte() -> float:
        """Return the time to the first byte as a share of the time to the last."""
        began = time.monotonic()
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="man", input=text * 40, response_format="pcm"
        ) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            first_s = time.monotonic() - began
            for _ in pieces:
                pass
            return first_s / (time.monotonic() - began)

    assert any(first_byte() < 0.5 for _ in range(3))


def test_speech_errors_name_the_parameter(client: openai.OpenAI) -> None:
    no_voice = refused(lambda: say(client, "Hi.", voice="absent"), openai.BadRequestError)
    assert (no_voice["code"], no_voice["param"]) == ("unknown_voice", "voice")
    no_language = refused(lambda: say(client, "Hi.", extra_body={"language": "?"}), openai.BadRequestError)
    assert no_language["param"] == "language"
    for voice, told in ((5, "voice: "), ({"id": 5}, "voice.id: "), ({}, "voice.id: Field required")):
        error = refused(lambda voice=voice: say(client, "Hi.", voice=voice), openai.BadRequestError)
        assert error["param"] == "voice"
        assert error["message"].startswith(told), error
    assert refused(lambda: say(client, "Hi.", voice="../../etc/passwd"), openai.BadRequestError)
    assert refused(lambda: say(client, "x" * 4097), openai.APIStatusError)["param"] == "input"
    assert refused(lambda: say(client, ""), openai.APIStatusError)["param"] == "input"
    assert refused(lambda: say(client, "Hi.", speed=9), openai.APIStatusError)["param"] == "speed"
    assert refused(lambda: say(client, "Hi.", model="nothing"), openai.NotFoundError)
    broken = httpx.post(f"{client.base_url}audio/speech", content="{x", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["error"]["param"]) == (400, "body")


def test_null_is_treated_as_a_missing_field(client: openai.OpenAI) -> None:
    """Clients without a value send null, even for fields that are not nullable in OpenAI's specification."""
    optional = ("instructions", "response_format", "speed", "stream_format", "language")
    wanted = {"model": "tts-1", "voice": "man", "input": "Hi."}
    plain, nulls = (
        httpx.post(f"{client.base_url}audio/speech", json=body, timeout=60)
        for body in (wanted, wanted | dict.fromkeys(optional))
    )
    assert (nulls.status_code, nulls.headers["content-type"]) == (200, plain.headers["content-type"])
    for name in ("voice", "input"):
        answer = httpx.post(f"{client.base_url}audio/speech", json=wanted | {name: None})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


def test_wrong_keys_are_rejected_with_an_openai_error(tmp_path: Path, three: Any) -> None:
    with hearing(tmp_path, API_KEYS="right") as locked:
        for key, good in (("right", True), ("wrong", False)):
            with openai.OpenAI(base_url=f"{locked.url}/v1", api_key=key, max_retries=0) as client:
                if good:
                    assert transcribe(client, three[0]).text
                    assert client.models.list().data
                    continue
                for call in (
                    lambda client=client: transcribe(client, three[0]),
                    lambda client=client: client.models.list(),
                    lambda client=client: say(client, "Hi."),
                ):
                    with pytest.raises(openai.AuthenticationError) as raised:
                        call()
                    assert raised.value.response.headers["www-authenticate"] == "Bearer"
                    assert set(raised.value.response.json()["error"]) == {"message", "type", "param", "code"}


def test_full_service_responds_with_retry_after(tmp_path: Path) -> None:
    with hearing(tmp_path, MAX_FILES="1") as small:
        wav = long_recording(3)
        with openai.OpenAI(base_url=f"{small.url}/v1", api_key="none", max_retries=0) as client:
            stream = transcribe(client, wav, stream=True)
            next(stream)
            with pytest.raises(openai.InternalServerError) as raised:
                transcribe(client, wav)
            assert raised.value.status_code == 503
            assert int(raised.value.response.headers["retry-after"]) >= 1
            stream.close()
            assert until(lambda: let_in_again(client)) == TEXTS[0]


def let_in_again(client: openai.OpenAI) -> str | None:
    """Return the transcript, or None if no slot is free."""
    try:
        return str(transcribe(client, recording(0)[0]).text)
    except openai.InternalServerError:
        return None
