"""Clients of `pipecat_bot.py` that behave like those of `bench/conversation.py`: ask, wait for the end of the reply,
repeat.

python pipecat_client.py PORT SESSIONS TURNS SERVER_PID QUESTION.pcm → one JSON object on stdout
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import websockets
from pipecat.frames.protobufs import frames_pb2

RATE_HZ, CHUNK_MS = 16_000, 20
QUIET_S = 1.0
"""After this silence the reply is over: pipecat's transport sends no event for its end."""


async def converse(port: int, turns: int, question: bytes, wait_s: float) -> list[float | None]:
    await asyncio.sleep(wait_s)
    heard: list[float | None] = []
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws", max_size=None, open_timeout=60) as socket:
        got: list[float] = []

        async def listen() -> None:
            async for message in socket:
                if frames_pb2.Frame.FromString(message).WhichOneof("frame") == "audio":
                    got.append(time.monotonic())

        due = time.monotonic()

        async def send(pcm: bytes) -> float:
            nonlocal due
            due = max(due, time.monotonic() - 0.5)
            step = CHUNK_MS * RATE_HZ // 1000 * 2
            for start in range(0, len(pcm), step):
                frame = frames_pb2.Frame()
                frame.audio.audio = pcm[start : start + step]
                frame.audio.sample_rate, frame.audio.num_channels = RATE_HZ, 1
                due += CHUNK_MS / 1000
                await asyncio.sleep(due - time.monotonic())
                await socket.send(frame.SerializeToString())
            return time.monotonic()

        async def quiet(seconds: float) -> None:
            await send(bytes(2 * int(seconds * RATE_HZ)))

        listening = asyncio.create_task(listen())
        await quiet(0.5)
        for _ in range(turns):
            await quiet(0.5 + random.uniform(0, 0.032))
            before = len(got)
            spoke_until = await send(question)
            while time.monotonic() < spoke_until + 8 and len(got) == before:
                await quiet(0.1)
            while len(got) > before and time.monotonic() < got[-1] + QUIET_S:
                await quiet(0.1)
            heard.append(got[before] - spoke_until if len(got) > before else None)
        listening.cancel()
    return heard


async def main(port: int, sessions: int, turns: int, pid: int, question: bytes) -> None:
    server = psutil.Process(pid)
    before, start = sum(server.cpu_times()[:2]), time.monotonic()
    heard = await asyncio.gather(*(converse(port, turns, question, 5 * i / sessions) for i in range(sessions)))
    cpu, wall = sum(server.cpu_times()[:2]) - before, time.monotonic() - start
    times = [value for one in heard for value in one if value is not None]
    result = {
        "sessions": sessions,
        "median_ms": float(np.percentile(times, 50)) * 1000,
        "p95_ms": float(np.percentile(times, 95)) * 1000,
        "missing": sessions * turns - len(times),
        "cpu_percent_a_session": 100 * cpu / wall / sessions,
        "rss_mb": server.memory_info().rss / 1e6,
        "load": os.getloadavg()[0],
    }
    print(json.dumps(result))


asyncio.run(main(*map(int, sys.argv[1:5]), Path(sys.argv[5]).read_bytes()))
