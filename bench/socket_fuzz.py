"""Clients that send anything over the WebSockets of a running service: python -m bench.socket_fuzz [MESSAGES] [SEED]

All sockets in all modes: order, size, type, encoding, fragmentation, and invalid frames. Clients send
valid and broken messages of each protocol (including those of `tests/realtime/fuzz.py`), sound and garbage. Frames are
written to the socket by hand, so that they can be wrong in ways that no library permits. A client can read, not read,
close properly, or just disconnect.

At the end the service must be unchanged: no 5xx, no traceback, the same processes, no slot taken, and each socket
responds to a well-behaved client.
"""

import asyncio
import json
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
import psutil
from anyio.from_thread import start_blocking_portal
from websockets.asyncio.client import connect

from bench.rows import Rows
from pipeline.audio.clip import Clip, encode_wav
from server.telephone.twilio.route import MEDIA
from tests.questions import sample
from tests.realtime.fuzz import BYTES, JUNK
from tests.server_process import ServerProcess, constants, serving
from tests.servers.chat import FakeChat
from tests.servers.running import running
from tests.telephone.twilio import START, TOKEN, calling, signed
from tests.translation.client import translating

TRANSLATIONS = "/v1/realtime/translations?model=x"
WAYS = (
    "/ws", "/ws?stream=1&rate=16000", "/v1/realtime?model=x", "/api/v1/streaming", "/api/v1/streaming?partials=1",
    TRANSLATIONS, MEDIA,
)  # fmt: skip
SIGNATURE = signed(f"ws://127.0.0.1{MEDIA}")["X-Twilio-Signature"]
CLIENTS = 6
PER_CLIENT = 60
REPLY_S = 60.0
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
COMMANDS: tuple[dict[str, Any], ...] = (
    {"type": "begin"}, {"type": "commit"}, {"type": "clear"}, {"type": "interrupt"}, {"type": "say", "text": "hello"},
    {"type": "played", "ms": 100}, {"type": "configure", "options": {"silence_ms": 300}}, {"action": "stop"},
    {"type": "configure", "voice": "woman", "language": "pt"}, {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.append", "audio": "AAAA" * 400}, {"type": "response.create"},
    {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}, {"type": "response.cancel"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "hello"}]}},
    {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 1},
    {"type": "session.update", "session": {"audio": {"output": {"language": "es"}}}}, {"type": "session.close"},
    {"type": "session.input_audio_buffer.append", "audio": "AAAA" * 400}, START, START,
    {"event": "media", "streamSid": "MZ1", "media": {"payload": "/w==" * 40}}, {"event": "stop", "streamSid": "MZ1"},
    {"event": "mark", "streamSid": "MZ1", "mark": {"name": "1"}}, {"event": "connected"},
    {"event": "dtmf", "streamSid": "MZ1", "dtmf": {"digit": "5"}},
)  # fmt: skip


def frame(
    random: Random, opcode: int, data: bytes, *, final: bool = True, masked: bool = True, flags: int = 0
) -> bytes:
    """A frame that follows RFC 6455, or nearly does."""
    head = bytes([(0x80 if final else 0) | flags | opcode])
    mark = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([mark | len(data)])
    elif len(data) < 65536:
        head += bytes([mark | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([mark | 127]) + struct.pack("!Q", len(data))
    if not masked:
        return head + data
    mask = random.randbytes(4)
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    return head + mask + (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


def message(random: Random, recordings: list[bytes]) -> bytes:
    """The next message, as frames."""
    chance = random.random()
    if chance < 0.35:
        command = json.loads(json.dumps(random.choice(COMMANDS)))
        if random.random() < 0.4:
            command[random.choice([*command, "x"])] = random.choice(JUNK)
        return _cut(random, TEXT, json.dumps(command).encode())
    if chance < 0.50:
        return _cut(random, TEXT, random.choice(BYTES).encode("utf-8", "surrogatepass")[:9000])
    if chance < 0.75:
        size = random.choice([0, 1, 2, 3, 640, 1280, 4096, 40_000])
        return _cut(random, BINARY, random.choice([bytes(size), random.randbytes(size)]))
    if chance < 0.80:
        recording = bytearray(random.choice(recordings))
        for _ in range(random.choice([0, 1, 20])):
            recording[random.randrange(len(recording))] = random.randrange(256)
        return _cut(random, BINARY, bytes(recording[: random.choice([len(recording), 44, 200])]))
    if chance < 0.993:
        return frame(random, random.choice([PING, PONG]), random.randbytes(random.choice([0, 4, 125])))
    return random.choice(
        [
            frame(random, random.choice([3, 7, 11, 15]), b"reserved"),
            frame(random, TEXT, b"\xff\xfe\xc0"),
            frame(random, TEXT, b"x", flags=0x40),
            frame(random, TEXT, b"x", masked=False),
            frame(random, 0, b"goes on with nothing"),
            frame(random, PING, bytes(200)),
            frame(random, CLOSE, random.choice([b"\x03", b"\x00\x00", struct.pack("!H", 1000) + b"\xff"])),
            frame(random, BINARY, b"")[:1] + b"\xff" + b"\x7f" + b"\xff" * 7 + b"mask",  # 2^63 bytes follow
            random.randbytes(60),
        ]
    )


def _cut(random: Random, opcode: int, data: bytes) -> bytes:
    """The message whole, or in fragments, sometimes with a ping between them."""
    if random.random() < 0.8 or len(data) < 4:
        return frame(random, opcode, data)
    at = random.randrange(1, len(data) - 1)
    ping = frame(random, PING, b"in between") if random.random() < 0.5 else b""
    return frame(random, opcode, data[:at], final=False) + ping + frame(random, 0, data[at:])


async def client(server: ServerProcess, random: Random, recordings: list[bytes], seen: Counter[str]) -> int:
    """Run one connection; return the number of messages that it has sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    reading: asyncio.Task[bytes] | None = None
    sent = 0
    try:
        way = random.choice(WAYS)
        writer.write(
            f"GET {way} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"X-Twilio-Signature: {SIGNATURE}\r\n\r\n".encode()
        )
        status = (await reader.readline()).split(b" ")[1].decode()
        seen[f"handshake {status}"] += 1
        if status != "101":
            await asyncio.sleep(0.2)
            return 0
        if random.random() < 0.85:
            reading = asyncio.create_task(reader.read(2**30))
        for _ in range(PER_CLIENT):
            writer.write(message(random, recordings))
            sent += 1
            async with asyncio.timeout(5):
                await writer.drain()
            if random.random() < 0.3:
                await asyncio.sleep(random.choice([0, 0, 0.01, 0.1]))
        ending = random.choice(["closes", "goes", "waits"])
        if ending == "closes":
            writer.write(frame(random, CLOSE, struct.pack("!H", 1000)))
            await writer.drain()
        elif ending == "waits":
            await asyncio.sleep(0.3)
        seen[ending] += 1
    except TimeoutError:
        seen["no longer read by the service"] += 1
    except (ConnectionError, IndexError):
        seen["closed by the service"] += 1
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        writer.transport.abort() if random.random() < 0.7 else writer.close()
    return sent


async def behaving(server: ServerProcess) -> None:
    """Check that each socket responds to a well-behaved client."""
    address = f"ws://127.0.0.1:{server.port}"
    async with asyncio.timeout(REPLY_S):
        async with connect(f"{address}/ws") as socket:
            await socket.send(sample("hello"))
            assert json.loads(await socket.recv())["transcription"] == "hello"
        async with connect(f"{address}/ws?stream=1") as socket:
            await socket.send(json.dumps({"type": "say", "text": "hello"}))
            async for told in socket:
                if isinstance(told, str) and json.loads(told)["type"] == "reply_delta":
                    break
        async with connect(f"{address}/v1/realtime") as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"
        async with connect(f"{address}/api/v1/streaming") as socket:
            await socket.send(sample("hello"))
            await socket.send('{"action": "stop"}')
            assert "transcription" in json.loads(await socket.recv())
        async with translating(server.url) as listener:
            await listener.update("es")
        async with calling(server.url) as phone:
            await phone.press("1#")
            await phone.answered()


def state(server: ServerProcess) -> dict[str, float]:
    process = psutil.Process(server.process.pid)
    return {
        "memory MB": process.memory_info().rss / 2**20,
        "open files": process.num_fds(),
        "threads": process.num_threads(),
        "processes": len(process.children(recursive=True)),
        "slots taken": httpx.get(f"{server.url}/status", timeout=30).json()["sessions"]["open"],
    }


async def fuzz(server: ServerProcess, messages: int, seed: int) -> None:
    recordings = [sample("hello"), encode_wav(Clip(np.zeros(8000, np.float32), 16_000))]
    seen: Counter[str] = Counter()
    await behaving(server)
    before, begun, sent = state(server), time.monotonic(), 0
    half: dict[str, float] | None = None
    pids = {process.pid for process in server.workers()}
    number = seed
    while sent < messages:
        counts = await asyncio.gather(
            *(client(server, Random(number + index), recordings, seen) for index in range(CLIENTS))
        )
        number += CLIENTS
        sent += sum(counts)
        if half is None and sent >= messages / 2:
            half = state(server)
    for _ in range(int(2 * REPLY_S)):
        if state(server)["slots taken"] == 0:
            break
        await asyncio.sleep(0.5)
    await behaving(server)
    await asyncio.sleep(1)
    after = state(server)
    print(f"{sent} messages over {number - seed} connections in {time.monotonic() - begun:.0f} s, seed {seed}")
    rows = Rows("", "before", "half-way", "after")
    for name, value in before.items():
        rows.add(name, f"{value:.0f}", f"{(half or after)[name]:.0f}", f"{after[name]:.0f}")
    for name, times in seen.most_common():
        print(f"{times:8d}  {name}")
    ended = len(pids - {process.pid for process in server.workers()})
    errors = sum(times for name, times in seen.items() if name.startswith("handshake 5") and "503" not in name)
    print(
        f"crashes: {server.text.count('Traceback') + ended}, hung sessions: {after['slots taken']:.0f}, 5xx: {errors}"
    )


SHORT = constants({"server.http.stalling:STALL_TIMEOUT_S": 5.0, "server.app:RESUME_S": 5.0})


def settings(address: str) -> dict[str, str]:
    """Return the settings of the service, with a language model at this address."""
    return {"TWILIO_AUTH_TOKEN": TOKEN, "LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{address}/v1", **SHORT}


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(FakeChat().app())) as address,
        serving(Path(folder), IDLE_TIMEOUT_S="20", **settings(address)) as server,
    ):
        try:
            asyncio.run(fuzz(server, messages, seed))
        finally:
            Path(tempfile.gettempdir(), "socket-fuzz-server.log").write_text(server.text)


if __name__ == "__main__":
    main()
