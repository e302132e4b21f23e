"""The latency that Realtime adds to a turn: python -m bench.realtime [--turns N]

The same question, spoken in real time at 24 kHz, goes to the same server process with the same scripted stages
(`bench.scripted`), alternately over `/ws?stream=1` and `/v1/realtime`. "First audio" is the time from sending the
user's last sample to receiving the reply's first sample.
"""

import argparse
import asyncio
import base64
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from bench.scripted import FAST, parley, process
from bench.speaker import question
from pipeline.audio.clip import Clip
from tests.servers.running import closed_port

RATE_HZ = 24_000
CHUNK_MS = 20
CHUNKS_PER_FRAME = 8
"""Number of chunks after which a chunk and a VAD frame (32 ms) end together. Each question begins there, so that
latencies do not vary by chance.
"""
Wrap = Callable[[bytes], bytes | str]
IsSound = Callable[[Any], bool]
IsEnd = Callable[[Any], bool]


async def turn(socket: ClientConnection, sound: bytes, wrap: Wrap, is_sound: IsSound, is_end: IsEnd) -> float:
    """Run one spoken turn; return the seconds from the last sample to the first sound of the reply."""
    size = RATE_HZ * CHUNK_MS // 1000 * 2
    silence = bytes(size)
    spoken_until, first, over = 0.0, 0.0, asyncio.Event()

    async def listen() -> None:
        nonlocal first
        async for message in socket:
            now = time.monotonic()
            told = message if isinstance(message, bytes) else json.loads(message)
            if is_sound(told):
                first = first or now
            elif is_end(told):
                over.set()
                return

    listening = asyncio.create_task(listen())
    due = time.monotonic()
    for start in range(0, len(sound), size):
        due += CHUNK_MS / 1000
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await socket.send(wrap(sound[start : start + size].ljust(size, b"\0")))
    spoken_until = time.monotonic()
    sent = -(-len(sound) // size)
    while not over.is_set() or sent % CHUNKS_PER_FRAME:
        sent += 1
        due += CHUNK_MS / 1000
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await socket.send(wrap(silence))
    await listening
    return first - spoken_until


def append(data: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()})


async def measure(port: int, turns: int) -> dict[str, list[float]]:
    sound = Clip(question(), 16_000).at(RATE_HZ).pcm16()
    options = f"rate={RATE_HZ}&adaptive_endpointing=false&partial_ms=0"
    taken: dict[str, list[float]] = {"/ws?stream=1": [], "/v1/realtime": []}
    base = f"ws://127.0.0.1:{port}"
    async with (
        connect(f"{base}/ws?stream=1&{options}", compression=None) as live,
        connect(f"{base}/v1/realtime?model=any", compression=None) as realtime,
    ):
        transports: dict[str, Callable[[], Awaitable[float]]] = {
            "/ws?stream=1": lambda: turn(
                live, sound, bytes, lambda told: isinstance(told, bytes),
                lambda told: isinstance(told, dict) and told["type"] == "turn_completed",
            ),
            "/v1/realtime": lambda: turn(
                realtime, sound, append, lambda told: told["type"] == "response.output_audio.delta",
                lambda told: told["type"] == "response.done",
            ),
        }  # fmt: skip
        for number in range(turns + 1):
            for name, transport in transports.items():
                seconds = await transport()
                if number:  # the first of each is a warm-up
                    taken[name].append(seconds)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    turns = parser.parse_args().turns
    port = closed_port()
    with process(parley(FAST, port), port):
        taken = asyncio.run(measure(port, turns))
    for name, seconds in taken.items():
        ms = np.array(seconds) * 1000
        print(f"{name:14s} first audio after {np.median(ms):6.1f} ms (median), {ms.min():.1f} to {ms.max():.1f} ms")
    live, realtime = (statistics.median(seconds) for seconds in taken.values())
    print(f"added by Realtime: {(realtime - live) * 1000:+.1f} ms over {turns} turns each")


if __name__ == "__main__":
    main()
