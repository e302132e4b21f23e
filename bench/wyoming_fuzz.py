"""Broken Wyoming events sent to a running service: python -m bench.wyoming_fuzz [MESSAGES] [SEED]

Each connection sends a hundred events with correct lengths and arbitrary fields; some end with bytes that are not an
event. At the end the service must be unchanged: no traceback, the same processes, every well-framed connection has
received the pong for its last ping, and a well-behaved client gets its transcript.
"""

import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import psutil
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncTcpClient

from tests.questions import spoken
from tests.server_process import ServerProcess, serving
from tests.servers.running import closed_port, wait_for_port
from tests.wyoming.fuzz import KINDS, NAMES

PER_CONNECTION = 100
CLIENTS = 8
PATIENCE_S = 120.0
QUESTION = "what time is it"
SCALARS: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2, 4, 8, 16_000, 48_000, 10**12, 1.5, 1e308, "", "en", "man", "??", "16000", "Good morning. ",
    "\ud83d", "a" * 5000,
)  # fmt: skip
GOOD: dict[str, Any] = {
    "rate": 16_000, "width": 2, "channels": 1, "text": "Hi.", "language": "en", "voice": {"name": "man"},
    "context": {"conversation_id": "a"}, "transcript_names": ["Ada"], "timestamp": 7,
}  # fmt: skip
BROKEN = (b"[]\n", b"\xff\n", b"[" * 60_000 + b"\n", b"x" * 70_000, b'{"type": "ping", "payload_length": -1}\n')
LAST = b'{"type": "ping", "data": {"text": "the last"}}\n'


def junk(random: Random, depth: int = 0) -> Any:
    match random.randrange(4 if depth < 4 else 1):
        case 1:
            return [junk(random, depth + 1) for _ in range(random.randrange(3))]
        case 2:
            return {random.choice(NAMES): junk(random, depth + 1) for _ in range(random.randrange(4))}
        case _:
            return random.choice(SCALARS)


def event(random: Random) -> bytes:
    """One event after which the next one can be read."""
    data: Any = {name: value for name, value in GOOD.items() if random.random() < 0.8}
    for name in random.sample(NAMES, random.choice((0, 0, 0, 1, 1, 2))):
        data[name] = junk(random)
    if random.random() < 0.05:
        data = junk(random)
    head: dict[str, Any] = {"type": random.choice(KINDS) if random.random() < 0.97 else junk(random)}
    more = payload = b""
    if random.random() < 0.5:
        head["data"] = data
    else:
        more = json.dumps(data).encode() if random.random() < 0.95 else random.randbytes(random.randrange(1, 30))
        head["data_length"] = len(more)
    if random.random() < 0.5:
        payload = random.randbytes(random.randrange(1, 4000))
        head["payload_length"] = len(payload)
    return json.dumps(head).encode() + b"\n" + more + payload


async def connection(port: int, random: Random, told: Counter[str]) -> None:
    """Send a hundred events, and read all responses. Raises AssertionError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ends_broken = random.random() < 0.2

    async def write() -> None:
        for _ in range(PER_CONNECTION):
            writer.write(event(random))
            await writer.drain()
        writer.write(random.choice(BROKEN) if ends_broken else LAST)
        await writer.drain()

    writing = asyncio.create_task(write())
    last = ""
    async with asyncio.timeout(PATIENCE_S):
        while line := await reader.readline():
            head = json.loads(line)
            data = json.loads(await reader.readexactly(head["data_length"])) if head.get("data_length") else {}
            await reader.readexactly(head.get("payload_length", 0))
            last = head["type"]
            told[f"{last} {data['code']}" if last == "error" else last] += 1
            if last == "pong" and data.get("text") == "the last":
                break
        await writing
    writer.close()
    assert last == ("error" if ends_broken else "pong"), last


async def behaves(port: int) -> str:
    """The transcript that a well-behaved client gets."""
    pcm = spoken(QUESTION).at(16_000).pcm16()
    async with AsyncTcpClient("127.0.0.1", port) as client, asyncio.timeout(PATIENCE_S):
        await client.write_event(AudioChunk(16_000, 2, 1, pcm).event())
        await client.write_event(AudioStop().event())
        while (event := await client.read_event()) is not None:
            if Transcript.is_type(event.type):
                return Transcript.from_event(event).text
    return "the connection was closed"


async def attack(port: int, messages: int, first: int) -> Counter[str]:
    told: Counter[str] = Counter()
    seeds = iter(range(first, first + -(-messages // PER_CONNECTION)))

    async def client() -> None:
        for seed in seeds:
            try:
                await connection(port, Random(seed), told)
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return told


def check(server: ServerProcess, before: set[int], port: int) -> None:
    assert "Traceback" not in server.text, server.text[server.text.index("Traceback") - 300 :][:4000]
    assert {process.pid for process in server.workers()} == before
    assert (heard := asyncio.run(behaves(port))) == QUESTION, heard


def main() -> None:
    logging.disable(logging.CRITICAL)
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    port = closed_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), WYOMING_URI=f"tcp://127.0.0.1:{port}", MAX_AUDIO_SECONDS="30") as server,
    ):
        wait_for_port(port)
        asyncio.run(behaves(port))
        process = psutil.Process(server.process.pid)
        workers, rss = {one.pid for one in server.workers()}, process.memory_info().rss
        start = time.monotonic()
        told = asyncio.run(attack(port, messages, first))
        check(server, workers, port)
        grown = (process.memory_info().rss - rss) / 1e6
    count = -(-messages // PER_CONNECTION)
    print(
        f"{count * PER_CONNECTION} events over {count} connections, {time.monotonic() - start:.0f} s: all survive; "
        f"memory {grown:+.0f} MB"
    )
    for name, number in sorted(told.items()):
        print(f"{number:8d}  {name}")


if __name__ == "__main__":
    main()
