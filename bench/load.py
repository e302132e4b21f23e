"""Many users who talk to one service at the same time: latency, throughput and refusals.

    python -m bench.load [--speakers 1 4 16 32 64] [--seconds 30] [--whisper]

Real sockets to a service in a separate process, with its embedded engines (or a small Whisper in place of its
recogniser). A speaker sends sound in real time, 40 ms at a time, on /ws?stream=1: a question, then silence until the
reply is complete and for one second more, then the next question. "First audio": from the end of the speech to the
first sound of the reply. "Refused": turns that ended with `overloaded`, and connections that were not accepted.
"Failed": any other end of a turn without a reply, and silence for 30 s. Meanwhile another process requests /health five
times a second, and sleeps for a millisecond each time: "idle p99" is how late it wakes up, which is the machine's share
of the measured latency.
"""

import argparse
import asyncio
import json
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bench.rows import Rows
from pipeline.audio.decode import decode_blocking
from pipeline.listening.vad import speech_spans
from pipeline.settings import HOME
from pipeline.support.threads import NICENESS
from tests.questions import sample
from tests.server_process import ServerProcess, constants, serving

RATE_HZ = 16_000
FRAME = RATE_HZ // 25
PATIENCE_S = 30.0
THINKING_S = 1.0
PROBE_S = 0.2
WHISPER = {"STT_ENGINE": "whisper", "WHISPER_MODEL": str(HOME / "tests" / "models" / "whisper-tiny-words")}


@dataclass
class Seen:
    """Observations of all speakers in one run."""

    first_audio_s: list[float] = field(default_factory=list)
    completed: int = 0
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class Question:
    """A question as WebSocket frames of 16-bit samples, up to the end of its speech, and silence."""

    def __init__(self, frame: int = FRAME) -> None:
        """frame: samples in a message."""
        clip = decode_blocking(sample("what_is_two_plus_three"), max_seconds=30).at(RATE_HZ)
        end = speech_spans(clip.samples)[-1].end
        samples = np.pad(clip.samples[:end], (0, -end % frame))
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2")
        self.frames = [framed(pcm[start : start + frame].tobytes()) for start in range(0, len(pcm), frame)]
        self.silence = framed(bytes(2 * frame))


def framed(sound: bytes) -> bytes:
    """Return a client's WebSocket frame with this binary message (RFC 6455, section 5.2; the masking key is 0). Made
    once: speakers on the same cores as the service would otherwise use as much of them as it does."""
    return struct.pack("!BBHI", 0x82, 0x80 | 126, len(sound), 0) + sound


async def write(socket: ClientConnection, frame: bytes) -> None:
    """Send a frame of `framed`. Raises ConnectionClosed when the connection is closed."""
    if socket.transport.is_closing():
        await socket.send(b"")
    socket.transport.write(frame)


class Speaker:
    """One conversation: a task that sends at the pace of speech, and one that reads."""

    def __init__(self, url: str, question: Question, seen: Seen, late_s: float) -> None:
        self._url = url
        self._question = question
        self._seen = seen
        self._late_s = late_s
        self._spoke: float | None = None
        self._over = asyncio.Event()

    async def run(self, until: float) -> None:
        await asyncio.sleep(self._late_s)
        try:
            async with connect(self._url, max_size=None, compression=None, open_timeout=PATIENCE_S) as socket:
                reading = asyncio.create_task(self._read(socket))
                try:
                    await self._talk(socket, until)
                finally:
                    reading.cancel()
                    await asyncio.wait([reading])
        except (OSError, TimeoutError, WebSocketException) as error:
            if "503" in str(error):
                self._seen.refused += 1
            else:
                self._seen.failed[type(error).__name__] += 1

    async def _talk(self, socket: ClientConnection, until: float) -> None:
        due = time.monotonic()

        async def send(frame: bytes) -> None:
            nonlocal due
            due += FRAME / RATE_HZ
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await write(socket, frame)

        while time.monotonic() < until:
            self._over.clear()
            for frame in self._question.frames:
                await send(frame)
            self._spoke = time.monotonic()
            give_up = self._spoke + PATIENCE_S
            while not self._over.is_set():
                await send(self._question.silence)
                if time.monotonic() > give_up:
                    self._seen.failed["silence"] += 1
                    break
            for _ in range(round(THINKING_S * RATE_HZ / FRAME)):
                await send(self._question.silence)

    async def _read(self, socket: ClientConnection) -> None:
        async for message in socket:
            if isinstance(message, bytes):
                if self._spoke is not None:
                    self._seen.first_audio_s.append(time.monotonic() - self._spoke)
                    self._spoke = None
                continue
            told = json.loads(message)
            if told["type"] == "turn_completed":
                self._seen.completed += 1
                self._over.set()
            elif told["type"] in ("turn_failed", "error", "utterance_ignored", "turn_interrupted", "session_ended"):
                code = told.get("code") or told.get("reason") or told["type"]
                if code == "overloaded":
                    self._seen.refused += 1
                else:
                    self._seen.failed[code] += 1
                self._over.set()


async def speak(server: ServerProcess, speakers: int, seconds: float) -> Seen:
    seen, question = Seen(), Question()
    url = f"ws://127.0.0.1:{server.port}/ws?stream=1&rate={RATE_HZ}"
    until = time.monotonic() + seconds
    # Spread the starts over the length of one turn, so that not all begin at the same moment.
    everybody = [Speaker(url, question, seen, 4.0 * number / speakers) for number in range(speakers)]
    await asyncio.gather(*(speaker.run(until) for speaker in everybody))
    return seen


def probe(url: str) -> None:
    """Request /health until stdin closes; then print the time of each response, and how late each sleep ended, in
    seconds.
    """
    took: list[float] = []
    late: list[float] = []

    while not select.select([sys.stdin], [], [], PROBE_S)[0]:
        began = time.perf_counter()
        with urllib.request.urlopen(f"{url}/health", timeout=30) as answer:  # noqa: S310  # our own service
            answer.read()
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
        time.sleep(0.001)
        late.append(time.perf_counter() - began - 0.001)
    print(json.dumps([took, late]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--whisper", action="store_true")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        probe(options.probe)
        return
    rows = Rows(
        "speakers", "first audio p50", "p95", "turns/min", "refused", "/health p50", "p99", "idle p99", "CPU", "failed"
    )
    with tempfile.TemporaryDirectory() as folder:
        nice = constants({"pipeline.workers:NICENESS": NICENESS})
        settings = nice | (WHISPER if options.whisper else {})
        with serving(Path(folder), **settings) as server:
            for speakers in options.speakers:
                asking = subprocess.Popen(
                    [sys.executable, "-m", "bench.load", "--probe", server.url],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                process = psutil.Process(server.process.pid)
                before, began = process.cpu_times(), time.monotonic()
                seen = uvloop.run(speak(server, speakers, options.seconds))
                took_s = time.monotonic() - began
                after = process.cpu_times()
                told, _ = asking.communicate(timeout=60)
                health_ms, late_ms = np.array(json.loads(told)) * 1000
                busy = (after.user + after.system - before.user - before.system) / took_s
                first = seen.first_audio_s or [float("nan")]
                rows.add(
                    str(speakers), f"{statistics.median(first):.2f} s", f"{np.percentile(first, 95):.2f} s",
                    f"{seen.completed * 60 / took_s:.0f}", str(seen.refused),
                    f"{np.percentile(health_ms, 50):.1f} ms", f"{np.percentile(health_ms, 99):.1f} ms",
                    f"{np.percentile(late_ms, 99):.1f} ms", f"{busy:.0%}",
                    ", ".join(f"{count} {code}" for code, count in seen.failed.items()) or "0",
                )  # fmt: skip


if __name__ == "__main__":
    main()
