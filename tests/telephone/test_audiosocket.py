"""Access to AudioSocket's port, and frames that Asterisk does not send."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pipeline.assistant import Assistant
from pipeline.conversation.turn import Stages
from pipeline.errors import ConfigError
from pipeline.settings import Settings
from pipeline.voices.catalogue import Voices
from server.access import Budgets
from server.http.draining import Draining
from server.telephone.audiosocket.frames import MAX_PAYLOAD_BYTES
from server.telephone.audiosocket.server import networks, open_audiosocket
from tests.in_process import in_process
from tests.questions import spoken
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.server_process import Service, constants, serving
from tests.servers.running import closed_port, wait_for_port
from tests.telephone.asterisk import CALL, KINDS, calling, frame
from tests.telephone.conftest import SHORT, Exchange
from tests.waiting import WAIT_S, eventually

ID = frame(0x01, CALL.bytes)
SILENCE = frame(0x10, bytes(320))


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[tuple[Service, int]]:
    """A service with short timeouts. They are those of the whole process, so of one test only."""
    port = closed_port()
    waits = {"FIRST_FRAME_S": 0.5, "FIRST_SOUND_S": 1.0, "WRITE_S": 0.5}
    changed = constants({f"server.telephone.audiosocket.connection:{name}": value for name, value in waits.items()})
    with in_process(tmp_path, AUDIOSOCKET_ADDRESS=f"127.0.0.1:{port}", MAX_SESSIONS="4", **changed) as service:
        yield service, port


@pytest.fixture
def assistant() -> Assistant:
    """An assistant on scripted stages."""
    settings = Settings()
    return Assistant(settings, Stages(ScriptedSTT(), ScriptedLLM(), ScriptedTTS()), Voices.load(settings), lambda: ())


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return the frames until the service closes the connection."""
    async with asyncio.timeout(30):
        return await reader.read()


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"\x01", b"GET / HTTP/1.1\r\n\r\n", frame(0x00), SILENCE, frame(0x01), frame(0x01, b"short"),
        frame(0x01, bytes(17)), b"\x01\xff\xff" + bytes(100), frame(0xFF, b"\x01"), ID[:10],
    ],
)  # fmt: skip
async def test_a_connection_that_does_not_begin_with_an_id_is_closed(
    impatient: tuple[Service, int], sent: bytes
) -> None:
    async with connected(impatient[1]) as (reader, writer):
        writer.write(sent)
        assert await rest(reader) == frame(0x00)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x10\xff\xff" + bytes(1000), struct.pack(">BH", 0x10, MAX_PAYLOAD_BYTES + 1), frame(0x00),
        frame(0x00, b"why"), frame(0xFF), frame(0xFF, b"\x01"),
    ],
)  # fmt: skip
async def test_a_hangup_an_error_and_an_oversize_frame_end_the_call(exchange: Exchange, sent: bytes) -> None:
    async with connected(exchange.audiosocket) as (reader, writer):
        writer.write(ID + SILENCE + sent)
        assert (await rest(reader)).endswith(frame(0x00))
    await exchange.free()


async def test_odd_frames_do_not_end_the_call(exchange: Exchange, line: object) -> None:
    async with calling(exchange.audiosocket) as phone:
        for odd in (
            frame(0x02, b"\x01\x02"), frame(0x10), frame(0x10, b"\x01"), frame(0x10, bytes(321)), frame(0x03),
            frame(0x03, b"12"), frame(0x03, b"x"), frame(0x03, b"\xff"), frame(0x77, bytes(MAX_PAYLOAD_BYTES)), ID,
        ):  # fmt: skip
            phone.writer.write(odd)
        await phone.press("7#")
        await exchange.told("user", "7")
        assert exchange.said() == [("user", "7")]


@pytest.mark.parametrize("rate_hz", sorted(KINDS))
async def test_each_rate_is_heard_and_answered_in_it(exchange: Exchange, line: object, rate_hz: int) -> None:
    async with calling(exchange.audiosocket, rate_hz=rate_hz) as phone:
        phone.say(spoken("what does the heron do"))
        await phone.answered()
        assert phone.loud_s() == pytest.approx(len(SHORT) * 0.06, abs=0.3)
        assert KINDS[rate_hz] in phone.kinds


async def test_frames_come_every_20_ms_from_the_beginning(exchange: Exchange, line: object) -> None:
    async with calling(exchange.audiosocket) as phone:
        await eventually(lambda: len(phone.arrived) >= 101)
        assert phone.arrived[100] - phone.arrived[0] == pytest.approx(2.0, abs=0.1)


async def test_a_client_that_does_not_read_is_disconnected(impatient: tuple[Service, int]) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", impatient[1]))
        client.sendall(ID)

        def speak() -> None:
            with pytest.raises(ConnectionError):
                while True:
                    client.sendall(SILENCE)
                    time.sleep(0.02)

        await asyncio.to_thread(speak)


def test_connections_that_are_reset_leave_no_error_in_the_log(tmp_path: Path) -> None:
    audiosocket, wyoming = closed_port(), closed_port()
    settings = {"AUDIOSOCKET_ADDRESS": f"127.0.0.1:{audiosocket}", "WYOMING_URI": f"tcp://127.0.0.1:{wyoming}"}
    with serving(tmp_path, **settings) as server:
        for port, sent in ((audiosocket, ID + SILENCE * 50), (wyoming, b'{"type": "describe"}\n' * 50)):
            wait_for_port(port)
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(sent)
                    time.sleep(0.05)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(100):
            if not httpx.get(f"{server.url}/status").json()["sessions"]["open"]:
                break
            time.sleep(0.1)
    assert "Traceback" not in server.text


async def test_silent_connections_take_no_slot(impatient: tuple[Service, int]) -> None:
    port = impatient[1]
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(connected(port))
        phone = await stack.enter_async_context(calling(port))
        await eventually(lambda: len(phone.arrived) > 5)


async def test_a_call_without_sound_frees_its_slot(impatient: tuple[Service, int]) -> None:
    """The same holds for a call with other frames, and not for a user who is silent later."""
    service, port = impatient
    async with connected(port) as (silent, writer), connected(port) as (other, odd), connected(port) as (user, speech):
        writer.write(ID)
        odd.write(ID + frame(0x77) * 10)
        speech.write(ID + SILENCE)
        for reader in (silent, other):
            assert (await rest(reader)).endswith(frame(0x00))
        await eventually(lambda: service.text.count("no sound has come") == 2)
        await asyncio.sleep(1.0)
        assert not user.at_eof()


async def test_other_addresses_are_disconnected_at_once(assistant: Assistant) -> None:
    port = closed_port()
    settings = Settings(audiosocket_address=f"127.0.0.1:{port}", audiosocket_allowed="10.0.0.0/8,::1")
    async with open_audiosocket(settings, assistant, Budgets(settings), Draining()), connected(port) as (reader, _):
        assert await rest(reader) == b""


@pytest.mark.parametrize(
    ("address", "allowed", "told"),
    [
        ("127.0.0.1", "::1", "AUDIOSOCKET_ADDRESS must be like"),
        ("[::1", "::1", "AUDIOSOCKET_ADDRESS must be like"),
        ("127.0.0.1:9x", "::1", "AUDIOSOCKET_ADDRESS must be like"),
        ("127.0.0.1:0", "10.0.0.1/8", "AUDIOSOCKET_ALLOWED must be addresses"),
        ("127.0.0.1:0", "pbx.example", "AUDIOSOCKET_ALLOWED must be addresses"),
        ("203.0.113.1:9092", "::1", "Cannot listen on AUDIOSOCKET_ADDRESS=203.0.113.1:9092"),
    ],
)
async def test_invalid_settings_fail_the_start(assistant: Assistant, address: str, allowed: str, told: str) -> None:
    settings = Settings(audiosocket_address=address, audiosocket_allowed=allowed)
    with pytest.raises(ConfigError, match=told):
        async with open_audiosocket(settings, assistant, Budgets(settings), Draining()):
            pass


def test_networks_of_both_families_are_read() -> None:
    assert [str(one) for one in networks(" 10.0.0.0/8, ::1 ,,192.168.1.9")] == [
        "10.0.0.0/8",
        "::1/128",
        "192.168.1.9/32",
    ]
    assert [str(one) for one in networks(Settings().audiosocket_allowed)] == ["127.0.0.1/32", "::1/128"]
