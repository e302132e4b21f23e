"""Strangers on the Wyoming port can take neither the slots of others nor unlimited memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from websockets.sync.client import connect
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.ping import Ping, Pong
from wyoming.tts import SynthesizeStart

from pipeline.audio.clip import Clip
from pipeline.listening.detector import RATE_HZ
from server.access.callers import ALL, Caller
from server.access.limits import Budget
from server.wyoming.audio import VALUES_PER_STEP, Conversion, SoundIn
from tests.questions import spoken
from tests.server_process import ServerProcess, constants, let_in, serving
from tests.servers.running import closed_port, wait_for_port

PATIENCE_S = 60.0
PLACES = 4
LIMITS = {
    "MAX_SESSIONS": str(PLACES), "MAX_AUDIO_SECONDS": "600", "IDLE_TIMEOUT_S": "4",
    # Sound is taken at any pace, or the tests of what is kept would last for the time that it takes to say it.
    **constants({
        "server.access.budgets:MEMORY_BYTES": 40_000_000, "server.wyoming.connection:FIRST_EVENT_S": 3.0,
        "server.wyoming.audio:RECORDINGS_PACE": 10_000.0,
    }),
}  # fmt: skip
SECOND = AudioChunk(48_000, 4, 2, bytes(48_000 * 4 * 2))


@pytest.fixture(scope="module")
def port() -> int:
    return closed_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("wyoming")
    with serving(folder, WYOMING_URI=f"tcp://127.0.0.1:{port}", **LIMITS) as started:
        wait_for_port(port)
        yield started
        assert "Traceback" not in started.text


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        yield client


async def told(client: AsyncTcpClient) -> Event | None:
    async with asyncio.timeout(PATIENCE_S):
        return await client.read_event()


async def transcript(client: AsyncTcpClient) -> str:
    while (event := await told(client)) is not None and not Transcript.is_type(event.type):
        pass
    assert event is not None
    return Transcript.from_event(event).text


async def send(client: AsyncTcpClient, *what: Eventable) -> None:
    for one in what:
        await client.write_event(one.event())


async def served(port: int) -> bool:
    """Whether a connection gets a slot now."""
    async with connected(port) as client:
        with suppress(ConnectionError):
            await send(client, Ping("there?"))
            event = await told(client)
            return event is not None and Pong.is_type(event.type)
    return False


async def placed(stack: AsyncExitStack, port: int, count: int = 1) -> list[AsyncTcpClient]:
    """Clients that hold a slot; slots of disconnected clients become free a moment later."""
    held: list[AsyncTcpClient] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(held) < count:
            client = await stack.enter_async_context(connected(port))
            with suppress(ConnectionError):
                await send(client, Ping())
                event = await told(client)
                if event is not None and Pong.is_type(event.type):
                    held.append(client)
                    continue
            await asyncio.sleep(0.05)
    return held


async def test_silent_connections_take_no_slot_and_are_closed(server: ServerProcess, port: int) -> None:
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(port)) for _ in range(100)]
        await placed(stack, port)
        for client in silent:
            assert await told(client) is None


async def test_idle_connections_are_closed(server: ServerProcess, port: int) -> None:
    async with AsyncExitStack() as stack:
        for client in await placed(stack, port, PLACES):
            assert await told(client) is None
        await placed(stack, port)


async def test_an_incomplete_event_times_out(server: ServerProcess, port: int) -> None:
    for sent in (
        b'{"type": "ping"',
        b'{"type": "ping", "data_length": 10}\n{',
        b'{"type": "x", "payload_length": 9}\n1',
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_endless_events_stay_within_the_memory_budget(server: ServerProcess, port: int) -> None:
    """60 connections without a slot send all but the last byte of an event of 1 MB; 40 MB may be held."""
    async with AsyncExitStack() as stack:
        clients: list[asyncio.StreamReader] = []
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            clients.append(reader)
            with suppress(ConnectionError):
                writer.write(b'{"type": "x", "payload_length": 1000000}\n' + bytes(999_999))
                await writer.drain()
        refused = 0
        async with asyncio.timeout(PATIENCE_S):
            for reader in clients:
                with suppress(ConnectionError):
                    refused += b"overloaded" in await reader.read()
        assert refused  # about twenty, if all arrived in time
    assert await served(port)


async def test_wyoming_and_websockets_have_separate_slots(server: ServerProcess, port: int) -> None:
    async with AsyncExitStack() as stack:
        await placed(stack, port, PLACES)
        assert not await served(port)
        with connect(f"ws://127.0.0.1:{server.port}/ws") as socket:
            socket.close()
    with ExitStack() as sockets:
        for _ in range(PLACES):
            opened = let_in(lambda: connect(f"ws://127.0.0.1:{server.port}/ws"))
            sockets.enter_context(opened)
        async with AsyncExitStack() as stack:
            await placed(stack, port)


async def test_a_waiting_text_keeps_its_slot(server: ServerProcess, port: int) -> None:
    """A language model can think for longer than a connection may be idle."""
    async with AsyncExitStack() as stack:
        [client] = await placed(stack, port)
        await send(client, SynthesizeStart())
        await asyncio.sleep(5)
        await send(client, Ping("still there?"))
        event = await told(client)
        assert event is not None
        assert Pong.from_event(event).text == "still there?"


async def test_memory_stays_flat_while_much_sound_arrives(server: ServerProcess, port: int) -> None:
    """48 kHz, 32 bits, stereo: 384 kB a second arrive and 32 kB a second are kept."""
    process = psutil.Process(server.process.pid)
    async with AsyncExitStack() as stack:
        clients = await placed(stack, port, PLACES)
        for client in clients:
            await send(client, Transcribe(), SECOND)
        before = process.memory_info().rss
        for _ in range(120):
            await asyncio.gather(*(send(client, SECOND) for client in clients))
        for client in clients:
            await send(client, Ping())
            event = await told(client)
            assert event is not None
            assert Pong.is_type(event.type)
        grown = process.memory_info().rss - before
    assert grown < 40_000_000  # 184 MB have arrived


async def test_all_connections_share_one_budget(server: ServerProcess, port: int) -> None:
    """40 MB are 1,250 s of sound; four connections send 400 s each, one after the other: three fit."""

    async def response(client: AsyncTcpClient) -> Event:
        await send(client, Ping())
        event = await told(client)
        assert event is not None
        return event

    async with AsyncExitStack() as stack:
        clients = await placed(stack, port, PLACES)
        refused = 0
        for client in clients:
            for _ in range(10):
                await send(client, *[AudioChunk(8000, 1, 1, bytes(64_000))] * 5)
                for other in clients:
                    if other is not client:
                        assert Pong.is_type((await response(other)).type)  # an idle one would be closed
            event = await response(client)
            refused += Error.is_type(event.type) and Error.from_event(event).code == "overloaded"
        assert refused == 1


async def test_too_long_sound_is_refused_while_it_arrives(server: ServerProcess, port: int) -> None:
    async with AsyncExitStack() as stack:
        [client] = await placed(stack, port)
        await send(client, AudioStart(4000, 1, 1), *[AudioChunk(4000, 1, 1, bytes(1_000_000))] * 3)
        event = await told(client)
        assert event is not None
        assert Error.from_event(event).code == "audio_too_long"
        await send(client, AudioStop())
        event = await told(client)
        assert event is not None
        assert Transcript.from_event(event).text == ""


@pytest.mark.parametrize(
    ("rate_hz", "width", "channels"), [(16000, 2, 1), (48000, 4, 2), (8000, 2, 1), (44100, 2, 2), (22050, 1, 1)]
)
async def test_speech_of_any_format_in_any_chunks_is_transcribed(
    server: ServerProcess, port: int, rate_hz: int, width: int, channels: int
) -> None:
    """Chunks end in the middle of samples, and there are thousands of them."""
    question = "what time is it"
    samples = np.clip(spoken(question).at(rate_hz).samples, -1, 1)
    kind = {1: "u1", 2: "<i2", 4: "<i4"}[width]
    scaled = samples * 127 + 128 if width == 1 else samples.astype(np.float64) * (2 ** (8 * width - 1) - 1)
    pcm = np.repeat(scaled.round().astype(kind), channels).tobytes()
    async with AsyncExitStack() as stack:
        [client] = await placed(stack, port)
        for start in range(0, len(pcm), 1021):
            await send(client, AudioChunk(rate_hz, width, channels, pcm[start : start + 1021]))
        await send(client, AudioStop())
        assert await transcript(client) == question


async def test_a_format_change_within_the_sound_loses_nothing() -> None:
    held = Budget(10_000_000)
    tone = Clip(np.sin(np.arange(96_000) * 2 * np.pi * 300 / 48_000).astype(np.float32) * 0.5, 48_000)
    with held.share(Caller("", ALL, kind="anonymous")) as share:
        sound = SoundIn(share, 60.0, Conversion(asyncio.Lock()))
        for rate_hz in (48_000, 16_000, 8_000):
            pcm = tone.at(rate_hz).pcm16()
            for start in range(0, len(pcm), 999):
                await sound.take(AudioChunk(rate_hz, 2, 1, pcm[start : start + 999]))
        clip = sound.end()
        assert clip.seconds == pytest.approx(6.0, abs=0.01)
        middle = clip.samples[8000:-8000]
        assert float(np.sqrt(np.mean(middle**2))) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
        assert share.bytes == len(clip.samples) * 2
        sound.release()
        assert held.held == 0


@pytest.mark.parametrize(("right", "offset"), [(-1.0, 0.0), (1.0, 0.3)], ids=["opposite", "offset"])
async def test_cancelling_channels_and_an_offset_lose_no_sound(right: float, offset: float) -> None:
    """As with files, opposite channels are audible, and an offset is not."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 48_000).astype(np.float32)
    both = np.stack([noise, right * noise], 1) + np.float32(offset)
    pcm = (both * 32_767).astype("<i2").tobytes()
    with Budget(10_000_000).share(Caller("", ALL, kind="anonymous")) as share:
        sound = SoundIn(share, 60.0, Conversion(asyncio.Lock()))
        for start in range(0, len(pcm), 999):
            await sound.take(AudioChunk(16_000, 2, 2, pcm[start : start + 999]))
        middle = sound.end().samples[16_000:32_000]
    assert abs(float(middle.mean())) < 0.02
    assert float(np.std(middle)) == pytest.approx(0.3 / np.sqrt(3), rel=0.1)


async def test_eight_senders_of_large_chunks_share_the_event_loop() -> None:
    """Only one of them converts a small part in each iteration of the event loop, so that others run in between."""
    frames, channels, iterations = 24_000, 8, 0
    chunk = AudioChunk(384_000, 4, channels, bytes(frames * channels * 4))

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    converting = asyncio.Lock()
    with Budget(10_000_000).share(Caller("", ALL, kind="anonymous")) as share:
        sounds = [SoundIn(share, 60.0, Conversion(converting)) for _ in range(8)]
        await asyncio.gather(*(sound.take(chunk) for sound in sounds))
        counting.cancel()
        assert [len(sound.end().samples) for sound in sounds] == [RATE_HZ * frames // 384_000] * 8
    assert iterations >= 8 * frames * channels // VALUES_PER_STEP
