"""Wyoming on a running service, used by the protocol's own client as Home Assistant does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.handle import Handled, HandledChunk
from wyoming.info import Describe, Info, SelectProgram
from wyoming.intent import Recognize
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)
from wyoming.wake import Detect, Detection, NotDetected

from pipeline.audio.clip import Clip
from tests.questions import spoken
from tests.server_process import ServerProcess, constants, serving
from tests.servers.running import closed_port, wait_for_port
from tests.stt.recordings import TRAINED

NO_WORDS = ["transcript", "transcript-stop"]
NO_REPLY = ["not-handled", "handled-stop"]
SECOND = AudioChunk(16_000, 2, 1, bytes(32_000))
PATIENCE_S = 60.0
PLACES = 16
"""More than the slots still held by clients that have just disconnected."""


@pytest.fixture(scope="module")
def port() -> int:
    return closed_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("wyoming")
    uri = f"tcp://127.0.0.1:{port}"
    less = constants({"server.wyoming.streamed_texts:MAX_TEXT_CHARS": 10_000})
    limits = {"MAX_AUDIO_SECONDS": "30", "MAX_SESSIONS": str(PLACES), **less}
    with serving(folder, **TRAINED, WYOMING_URI=uri, **limits) as started:
        wait_for_port(port)  # just after the HTTP port
        yield started


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        yield client


async def told(client: AsyncTcpClient) -> Event:
    async with asyncio.timeout(PATIENCE_S):
        event = await client.read_event()
    assert event is not None, "the server has closed the connection"
    return event


async def send(client: AsyncTcpClient, *what: Eventable) -> None:
    for one in what:
        await client.write_event(one.event())


async def until(client: AsyncTcpClient, last: str) -> list[Event]:
    """The next events, up to the first of this type."""
    found = [await told(client)]
    while found[-1].type != last:
        found.append(await told(client))
    return found


async def transcript(client: AsyncTcpClient) -> str:
    """The next transcript."""
    events = {event.type: event for event in await until(client, "transcript-stop")}
    return Transcript.from_event(events["transcript"]).text


async def speak(client: AsyncTcpClient, clip: Clip, **asked: Any) -> None:
    pcm = clip.pcm16()
    size = clip.rate_hz // 1000 * 60 * 2
    await send(client, Transcribe(**asked), AudioStart(clip.rate_hz, 2, 1))
    for start in range(0, len(pcm), size):
        await send(client, AudioChunk(clip.rate_hz, 2, 1, pcm[start : start + size]))
    await send(client, AudioStop())


async def sound(client: AsyncTcpClient) -> Clip:
    """The next sound, from its start to its end."""
    start = AudioStart.from_event(await told(client))
    pcm = b""
    while AudioChunk.is_type((event := await told(client)).type):
        pcm += AudioChunk.from_event(event).audio
    assert AudioStop.is_type(event.type)
    return Clip(np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768), start.rate)


async def test_info_lists_the_models_and_voices(server: ServerProcess, port: int) -> None:
    async with connected(port) as client:
        await send(client, Describe())
        info = Info.from_event(await told(client))
        assert [program.models[0].languages for program in info.asr] == [["en"]]
        assert {"man", "woman"} <= {voice.name for voice in info.tts[0].voices}
        assert info.tts[0].supports_synthesize_streaming
        assert info.handle[0].supports_handled_streaming
        assert info.asr[0].supports_transcript_streaming
        assert not info.asr[0].requires_external_vad
        assert "en" in info.handle[0].models[0].languages
        await send(client, Ping("there?"))
        assert Pong.from_event(await told(client)).text == "there?"


async def test_several_utterances_are_transcribed_in_a_row(server: ServerProcess, port: int) -> None:
    async with connected(port) as client:
        for question in ("what time is it", "tell me a joke"):
            await speak(client, spoken(question), language="en")
            assert await transcript(client) == question


async def test_a_recording_is_transcribed_with_its_pauses(server: ServerProcess, port: int) -> None:
    """Sound that arrives faster than it is spoken ends at audio-stop; the words are also streamed."""
    pause = np.zeros(2 * 16_000, np.float32)
    sound = np.concatenate([spoken("what time is it").samples, pause, spoken("tell me a joke").samples])
    async with connected(port) as client:
        await send(client, Transcribe(), AudioChunk(16_000, 2, 1, Clip(sound, 16_000).pcm16()), AudioStop())
        start, *chunks, whole, _ = await until(client, "transcript-stop")
        assert TranscriptStart.from_event(start).language == "en"
        assert "".join(TranscriptChunk.from_event(one).text for one in chunks) == Transcript.from_event(whole).text
        assert Transcript.from_event(whole).text not in ("", "what time is it"), "it did not end in the pause"


@pytest.mark.real_time
async def test_the_service_hears_the_end_of_a_command(server: ServerProcess, port: int) -> None:
    """The client sends silence until it gets the transcript; the rest of the sound is ignored."""
    async with connected(port) as client:
        heard = asyncio.create_task(transcript(client))
        await send(client, Transcribe(language="eng"), AudioStart(16_000, 2, 1))
        pcm = spoken("what time is it").pcm16()
        at = 0
        while not heard.done():
            await send(client, AudioChunk(16_000, 2, 1, pcm[at : at + 1920].ljust(1920, b"\0")))
            at += 1920
            await asyncio.sleep(0.06)
        assert heard.result() == "what time is it"
        await send(client, AudioChunk(16_000, 2, 1, bytes(1920)), AudioStop(), Ping("next"))
        assert Pong.from_event(await told(client)).text == "next"
        await speak(client, spoken("tell me a joke"))
        assert await transcript(client) == "tell me a joke"


async def test_a_program_can_be_selected(server: ServerProcess, port: int) -> None:
    async with connected(port) as client:
        await send(client, SelectProgram("parley"), Ping("there?"))
        assert Pong.from_event(await told(client)).text == "there?"
        await send(client, SelectProgram("piper"))
        assert Error.from_event(await told(client)).code == "unknown_program"
        assert await client.read_event() is None, "no request can follow"


async def test_text_is_spoken(server: ServerProcess, port: int) -> None:
    async with connected(port) as client:
        await send(client, Synthesize("Good morning. What can I do for you?", SynthesizeVoice(name="woman")))
        clip = await sound(client)
    assert 1.0 < clip.seconds < 6.0
    assert np.abs(clip.samples).max() > 0.05


async def test_text_is_spoken_while_it_arrives(server: ServerProcess, port: int) -> None:
    """Home Assistant also sends the whole text, for servers that cannot stream."""
    async with connected(port) as client:
        await send(client, SynthesizeStart(), SynthesizeChunk("The heron stands quite still. It "))
        start = await told(client)
        assert AudioStart.is_type(start.type)  # before the text has ended
        await send(client, SynthesizeChunk("waits for a fish."), Synthesize("The heron stands quite still. …"))
        await send(client, SynthesizeStop())
        kinds = []
        while not SynthesizeStopped.is_type((event := await told(client)).type):
            kinds.append(event.type)
    assert kinds.count("audio-stop") == 1
    assert kinds.count("audio-start") == 0
    assert kinds.count("audio-chunk") > 3


async def test_streamed_text_is_spoken_in_its_language(server: ServerProcess, port: int) -> None:
    async def seconds(voice: SynthesizeVoice | None = None) -> float:
        async with connected(port) as client:
            text = "Les trains qui partent aujourd'hui vers les grandes villes sont tous en retard."
            await send(client, SynthesizeStart(voice), SynthesizeChunk(text), SynthesizeStop())
            return (await sound(client)).seconds

    french, english = [await seconds(SynthesizeVoice(language=code)) for code in ("fra", "eng")]
    assert await seconds() == pytest.approx(french, rel=0.02)
    assert english != pytest.approx(french, rel=0.05)


async def test_a_reply_uses_the_conversation_across_connections(server: ServerProcess, port: int) -> None:
    async def ask(text: str, conversation: str) -> str:
        async with connected(port) as client:
            await send(client, Transcript(text, context={"conversation_id": conversation}, language="en"))
            start, *chunks, whole, _ = await until(client, "handled-stop")
            handled = Handled.from_event(whole)
            assert handled.context == start.data["context"] == {"conversation_id": conversation}
            assert "".join(HandledChunk.from_event(chunk).text for chunk in chunks).strip() == handled.text
            return handled.text or ""

    await ask("my name is Ada", "a")
    assert "Ada" in await ask("what is my name", "a")
    assert "Ada" not in await ask("what is my name", "b")


async def test_a_text_without_words_is_a_short_silence(server: ServerProcess, port: int) -> None:
    async with connected(port) as client:
        for nothing in ("—", "😀", "..."):
            await send(client, Synthesize(nothing))
            heard = await sound(client)
            assert (heard.seconds, heard.samples.any()) == (0.3, False)


async def test_each_language_of_a_voice_is_listed_with_its_own_name(server: ServerProcess, port: int) -> None:
    """The protocol sends the name of the voice or a language, not both."""
    async with connected(port) as client:
        await send(client, Describe())
        voices = Info.from_event(await told(client)).tts[0].voices
        named = {voice.languages[0]: voice.name for voice in voices if voice.name.startswith("man")}
        assert named == {"en": "man", "pt": "man:pt", "es": "man:es"}
        text = "21, 38, 74, 95."
        lengths: dict[str, list[float]] = {}
        for language, name in named.items():
            for asked in (SynthesizeVoice(name=name), SynthesizeVoice(language=language)):
                await send(client, Synthesize(text, asked))
                lengths.setdefault(language, []).append((await sound(client)).seconds)
        for by_name, by_language in lengths.values():
            assert by_name == pytest.approx(by_language, rel=0.03), lengths
        assert lengths["en"][0] * 1.1 < lengths["es"][0] < 0.98 * lengths["pt"][0], lengths


@pytest.mark.parametrize(
    ("events", "code", "ends"),
    [
        ([AudioStart(16000, 2, 1), AudioStop()], "empty_message", NO_WORDS),
        ([AudioChunk(16000, 3, 1, b"123"), AudioStop()], "unsupported_audio", NO_WORDS),
        ([AudioChunk(7, 2, 1, b"12"), AudioStop()], "unsupported_audio", NO_WORDS),
        ([AudioChunk(16000, 2, 1, bytes(320_000))] * 4 + [AudioStop()], "audio_too_long", NO_WORDS),
        (
            [Transcribe(language="??"), AudioChunk(16000, 2, 1, b"12"), AudioStop()],
            "unsupported_language",
            NO_WORDS,
        ),
        ([Synthesize("hello", SynthesizeVoice(name="../../etc"))], "unknown_voice", ["audio-stop"]),
        ([Synthesize("hello", SynthesizeVoice(language="??"))], "unsupported_language", ["audio-stop"]),
        ([Synthesize("a" * 5000)], "bad_parameter", ["audio-stop"]),
        (
            [SynthesizeStart(SynthesizeVoice(name="x")), SynthesizeChunk("a"), Synthesize("a"), SynthesizeStop()],
            "unknown_voice",
            ["audio-stop", "synthesize-stopped"],
        ),
        (
            [SynthesizeStart(), *[SynthesizeChunk("many words " * 100)] * 10, Synthesize("a"), SynthesizeStop()],
            "message_too_large",
            ["audio-stop", "synthesize-stopped"],
        ),
        ([Transcript("")], "bad_parameter", NO_REPLY),
        ([Transcript("a", language="??")], "unsupported_language", NO_REPLY),
        ([Recognize("turn on the light")], "unsupported_message", ["not-recognized"]),
        (
            [Detect(["okay_nabu", "ok nabu"]), AudioStart(16_000, 2, 1), SECOND, AudioStop()],
            "bad_parameter",
            ["not-detected"],
        ),
        ([Transcribe(), AudioStart(7, 2, 1), AudioChunk(7, 2, 1, b"12")], "unsupported_audio", NO_WORDS),
        ([Detect(), AudioChunk(16_000, 3, 1, bytes(480)), AudioStop()], "unsupported_audio", ["not-detected"]),
        ([Transcribe(language="??")], "unsupported_language", NO_WORDS),
        ([Transcribe(language="de")], "unsupported_language", NO_WORDS),
    ],
)
async def test_failures_are_reported_and_the_connection_continues(
    server: ServerProcess, port: int, events: list[Eventable], code: str, ends: list[str]
) -> None:
    """A client waits for the end of its request, and ignores errors."""
    async with connected(port) as client:
        await send(client, *events)
        kinds = ["audio-start", "audio-chunk"]  # of the sound before the failure
        while (event := await told(client)).type in kinds:
            pass
        assert Error.from_event(event).code == code
        assert [(await told(client)).type for _ in ends] == ends
        await client.write_event(Event("no-such-event", {}))  # ignored
        await speak(client, spoken("tell me a joke"))
        assert await transcript(client) == "tell me a joke"


@pytest.mark.parametrize(("rate_hz", "names"), [(16_000, None), (48_000, ["alexa", "okay_nabu"])])
async def test_a_wake_word_is_detected(server: ServerProcess, port: int, rate_hz: int, names: list[str] | None) -> None:
    called = spoken("Okay Nabu", "en-us").at(rate_hz)
    async with connected(port) as client:
        await send(client, Describe())
        found = Info.from_event(await told(client)).wake[0].models
        assert {model.name: model.phrase for model in found}["okay_nabu"] == "Okay Nabu"
        await send(client, Detect(names), AudioStart(rate_hz, 2, 1))
        for at, clip in enumerate([spoken("tell me a joke").at(rate_hz), called, called]):
            await send(client, AudioChunk(rate_hz, 2, 1, clip.pcm16(), timestamp=at * 1000))
        detection = Detection.from_event(await told(client))
        assert (detection.name, detection.timestamp) == ("okay_nabu", 1000)
        await send(client, AudioStop())
        await speak(client, spoken("tell me a joke"))
        assert await transcript(client) == "tell me a joke", "detected once"


async def test_sound_without_the_wake_word_is_not_detected(server: ServerProcess, port: int) -> None:
    async with connected(port) as client:
        await send(client, Detect(["alexa"]), AudioStart(16_000, 2, 1))
        for _ in range(40):  # 60 s, more than a recording may have: none of it is kept
            await send(client, AudioChunk(16_000, 2, 1, bytes(48_000)))
        await send(client, AudioChunk(16_000, 2, 1, spoken("Okay Nabu", "en-us").pcm16()), AudioStop())
        assert NotDetected.is_type((await told(client)).type)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b'{"type": "audio-chunk", "payload_length": -1}\n',
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
        b'{"type": "describe", "data_length": "9"}\n',
        b'{"type": "describe", "data_length": 1000000}\n',
        b'{"type": "describe", "payload_length": 1.5}\n',
        b'{"type": "describe", "payload_length": true}\n',
        b'{"type": "describe", "payload_length": 1' + b"0" * 5000 + b"}\n",
        b'{"type": "describe", "payload_length": 1' + b"0" * 4000 + b"}\n",
        b'\xff\xfe{"type": "describe"}\n',
        b'{"type": "describe", "rate": NaN}\n',
        b"x" * 200_000,
        b"[" * 60_000 + b"\n",
    ],
)
async def test_invalid_data_is_refused_without_harm(server: ServerProcess, port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(PATIENCE_S):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b'"error"'
    writer.close()
    assert b'"error"' in answer
    async with connected(port) as client:
        await send(client, Ping())
        assert Pong.is_type((await told(client)).type)


async def test_connections_over_the_limit_are_refused(server: ServerProcess, port: int) -> None:
    async with AsyncExitStack() as stack:
        held = 0
        async with asyncio.timeout(PATIENCE_S):
            while held < PLACES:  # clients that have just disconnected may still hold slots
                client = await stack.enter_async_context(connected(port))
                with suppress(ConnectionError):
                    await send(client, Ping())
                    held += Pong.is_type((await told(client)).type)
        async with connected(port) as client:
            assert Error.from_event(await told(client)).code == "overloaded"


def test_the_service_stops_while_a_client_is_connected(tmp_path: Path) -> None:
    port = closed_port()
    with serving(tmp_path, WYOMING_URI=f"tcp://127.0.0.1:{port}") as started:
        wait_for_port(port)
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as idle:
            idle.sendall(b'{"type": "ping"}\n')
            assert idle.recv(100)
            started.end()
        assert "Traceback" not in started.text
