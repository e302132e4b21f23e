"""How a live conversation feels: scripted stages with real clocks, through the real WebSocket door of one process.

python -m bench.conversation                              Parley alone
python -m bench.conversation --peer-python VENV/bin/python   the same beside pipecat (pip install
                                                          'pipecat-ai[websocket]==1.14.0' uvicorn psutil in VENV)
python -m bench.conversation --carry 1 8 16 32 64 96      how many conversations one process carries

A server process (this file with --serve), and its clients in this one, which speak a question synthesised with eSpeak
in real time. "First audio" is from the user's last sample, sent, to the reply's first sample, received.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.audio import Clip, Samples
from pipeline.settings import HOME
from tests.questions import spoken
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

RATE_HZ = 16_000
CHUNK_MS = 20
SILENCE_MS = 500
REPLY = "The heron stands quite still. It waits for a small fish."
FIRST_CLAUSE = "The heron stands quite still."
FAST = {"stt_s": 0.08, "first_token_s": 0.12, "tokens_per_s": 60.0, "first_audio_s": 0.04}
SLOW = {"stt_s": 0.4, "first_token_s": 0.8, "tokens_per_s": 60.0, "first_audio_s": 0.04}
SPECULATE_MS = 100


def work_s(stages: dict[str, float]) -> float:
    """What the stages together take for the first sound of the reply: their critical path."""
    words = len(FIRST_CLAUSE.split())
    return stages["stt_s"] + stages["first_token_s"] + words / stages["tokens_per_s"] + stages["first_audio_s"]


# --- the server ---


def serve(port: int, stages: dict[str, float]) -> None:
    """Parley's application on scripted stages; `/running` tells what runs, and when the last call ended."""
    import uvicorn

    from pipeline.assistant import Assistant
    from pipeline.settings import Settings
    from pipeline.turn import Stages
    from pipeline.voices import Voices
    from server.app import create_app
    from tests.scripted import Running

    settings = Settings(max_sessions=1000)
    running = Running()
    scripted = Stages(
        stt=ScriptedSTT(seconds=stages["stt_s"], running=running),
        llm=ScriptedLLM(REPLY, stages["first_token_s"], stages["tokens_per_s"], running=running),
        tts=ScriptedTTS(first_s=stages["first_audio_s"], running=running),
    )
    app = create_app(settings, Assistant(settings, scripted, Voices.load(settings), lambda: ()))

    @app.get("/running")
    async def tell() -> dict[str, Any]:
        ended = max((call.ended_s for call in running.spans), default=0.0)
        return {"now": running.now, "ended_s": ended, "clock_s": asyncio.get_running_loop().time()}

    uvicorn.run(app, host="127.0.0.1", port=port, ws="websockets-sansio", log_level="warning", server_header=False)


@contextmanager
def process(command: list[str], port: int) -> Iterator[psutil.Process]:
    """A server that listens on the port while the block runs."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, cwd=HOME, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 90
            while not listens(port):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"the server did not start: {log.read()[-2000:].decode()}")
                time.sleep(0.2)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def parley(stages: dict[str, float], port: int) -> list[str]:
    return [sys.executable, "-m", "bench.conversation", "--serve", str(port), json.dumps(stages)]


# --- a client ---


def question() -> Samples:
    """Spoken by eSpeak, without silence at its ends."""
    samples = spoken("what does the heron do all day").samples
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + 1]


@dataclass
class Speaker:
    """A person at the microphone, in real time: 20 ms (or more) a message."""

    socket: ClientConnection
    chunk_ms: int = CHUNK_MS
    got: list[tuple[float, str | int]] = field(default_factory=list)
    """When each event (its type) or sound (its bytes) came."""
    timings: list[dict[str, float]] = field(default_factory=list)
    _due: float = 0.0

    async def listen(self) -> None:
        async for message in self.socket:
            now = time.monotonic()
            if isinstance(message, bytes):
                self.got.append((now, len(message)))
            else:
                told = json.loads(message)
                self.got.append((now, told["type"]))
                if "timings_ms" in told:
                    self.timings.append(told["timings_ms"])

    async def send(self, samples: Samples) -> float:
        """Returns when the last of it had been sent."""
        self._due = max(self._due, time.monotonic() - 0.5)
        step = self.chunk_ms * RATE_HZ // 1000
        pcm = Clip(samples, RATE_HZ).pcm16()
        for start in range(0, len(pcm), 2 * step):
            chunk = pcm[start : start + 2 * step]
            self._due += len(chunk) / 2 / RATE_HZ  # the last one of a call may be shorter
            await asyncio.sleep(self._due - time.monotonic())
            await self.socket.send(chunk)
        return time.monotonic()

    async def quiet(self, seconds: float) -> None:
        await self.send(np.zeros(int(seconds * RATE_HZ), np.float32))

    async def until(self, kind: str, count: int = 1, within_s: float = 20.0) -> float:
        """Silence until the `count`-th event of that kind (or "sound"); when it came."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = [at for at, what in self.got if what == kind or (kind == "sound" and isinstance(what, int))]
            if len(found) >= count:
                return found[count - 1]
            await self.quiet(0.1)
        raise TimeoutError(f"no {kind} in {[what for _, what in self.got if isinstance(what, str)]}")


@asynccontextmanager
async def speaker(port: int, chunk_ms: int = CHUNK_MS, **options: Any) -> AsyncIterator[Speaker]:
    query = "&".join(
        f"{name}={value}" for name, value in {"rate": RATE_HZ, "adaptive_endpointing": False, **options}.items()
    )
    async with connect(
        f"ws://127.0.0.1:{port}/ws?stream=1&{query}", compression=None, open_timeout=60, ping_interval=None
    ) as connection:
        person = Speaker(connection, chunk_ms)
        listening = asyncio.create_task(person.listen())
        try:
            yield person
        finally:
            listening.cancel()
            await asyncio.wait([listening])


@dataclass
class Heard:
    """Of one session."""

    first_audio_s: list[float] = field(default_factory=list)
    server_s: list[float] = field(default_factory=list)
    """By the server's own clock: from the endpoint to the first sound."""
    missing: int = 0


async def converse(port: int, turns: int, *, chunk_ms: int = CHUNK_MS, wait_s: float = 0.0, **options: Any) -> Heard:
    """One person: so many questions, each asked when the answer to the one before is over."""
    heard = Heard()
    asked = question()
    await asyncio.sleep(wait_s)
    async with speaker(port, chunk_ms, **options) as person:
        await person.quiet(0.5)
        for turn in range(1, turns + 1):
            await person.quiet(0.5 + np.random.default_rng().uniform(0, 0.032))  # at any place of the VAD's frame
            spoke_until = await person.send(asked)
            try:
                await person.until("turn_completed", turn)
                heard.first_audio_s.append(
                    next(t for t, w in person.got if isinstance(w, int) and t > spoke_until) - spoke_until
                )
            except (TimeoutError, StopIteration, ConnectionClosed):
                heard.missing += 1
        heard.server_s = [(marks["first_sound"] - marks["endpoint"]) / 1000 for marks in person.timings]
    return heard


# --- what is measured ---


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else float("nan")


async def first_audio(turns: int, console: Console) -> list[dict[str, Any]]:
    table = Table(
        "stages", "speculation", "first audio ms", "over endpointing delay ms", "over critical path", "missing"
    )
    results = []
    for name, stages in (("fast", FAST), ("slow", SLOW)):
        port = free_port()
        with process(parley(stages, port), port):
            for speculations in (3, 0):
                heard = await converse(port, turns, speculations=speculations, silence_ms=SILENCE_MS)
                median = percentile(heard.first_audio_s, 50) * 1000
                start_ms = SPECULATE_MS if speculations else SILENCE_MS
                critical = max(SILENCE_MS, start_ms + work_s(stages) * 1000)
                results.append(
                    {
                        "stages": name,
                        "work_ms": work_s(stages) * 1000,
                        "speculations": speculations,
                        "median_ms": median,
                        "p95_ms": percentile(heard.first_audio_s, 95) * 1000,
                        "over_endpoint_ms": median - SILENCE_MS,
                        "critical_ms": critical,
                        "over_critical": median / critical - 1,
                        "missing": heard.missing,
                        "server_after_endpoint_ms": percentile(heard.server_s, 50) * 1000,
                    }
                )
                table.add_row(
                    f"{name} ({work_s(stages) * 1000:.0f} ms)",
                    "on" if speculations else "off",
                    f"{median:.0f}",
                    f"{median - SILENCE_MS:+.0f}",
                    f"{median / critical - 1:+.1%}",
                    str(heard.missing),
                )
    console.print(table)
    return results


async def interruption(rounds: int, console: Console) -> dict[str, Any]:
    """From the interrupting speech's first sample to the last sound that came, and to the event."""
    port = free_port()
    last_s, event_s = [], []
    with process(parley(FAST, port), port):
        for _ in range(rounds):
            async with speaker(port, interrupt_ms=250) as person:
                await person.quiet(0.5)
                await person.send(question())
                await person.until("sound")
                await person.quiet(0.8)
                began = time.monotonic()
                await person.send(question())
                ended = await person.until("turn_interrupted")
                last_s.append(max(at for at, what in person.got if isinstance(what, int) and at <= ended) - began)
                event_s.append(ended - began)
    result = {
        "last_audio_ms": percentile(last_s, 50) * 1000,
        "last_audio_max_ms": max(last_s) * 1000,
        "interrupted_ms": percentile(event_s, 50) * 1000,
        "threshold_ms": 250,
    }
    console.print(
        f"interruption: last sound {result['last_audio_ms']:.0f} ms (at most {result['last_audio_max_ms']:.0f}) "
        f"after the speech began, decided after {result['interrupted_ms']:.0f} ms (INTERRUPT_MS 250)"
    )
    return result


async def hanging_up(rounds: int, console: Console) -> dict[str, Any]:
    """From a socket's close in mid-reply, without a close frame, to the end of the last stage call."""
    port = free_port()
    took = []
    with process(parley(FAST | {"tokens_per_s": 2.0}, port), port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(rounds):
                async with speaker(port) as person:
                    await person.quiet(0.5)
                    await person.send(question())
                    await person.until("reply_delta", 2)
                    assert (await client.get("/running")).json()["now"]
                    closed = asyncio.get_running_loop().time()
                    person.socket.transport.abort()
                await asyncio.sleep(0.5)
                running = (await client.get("/running")).json()
                assert not running["now"], running
                took.append(running["ended_s"] - closed)
    result = {"median_ms": percentile(took, 50) * 1000, "max_ms": max(took) * 1000}
    console.print(
        f"hang-up in mid-reply: last stage call ended after {result['median_ms']:.1f} ms, "
        f"at most {result['max_ms']:.1f}"
    )
    return result


def cpu_s(server: psutil.Process) -> float:
    return sum(server.cpu_times()[:2])


async def many(port: int, server: psutil.Process, sessions: int, turns: int, chunk_ms: int) -> dict[str, Any]:
    """So many people at a time, begun one after the other over 5 s."""
    before, start = cpu_s(server), time.monotonic()
    heard = await asyncio.gather(
        *(
            converse(port, turns, chunk_ms=chunk_ms, wait_s=5 * i / sessions, silence_ms=SILENCE_MS)
            for i in range(sessions)
        )
    )
    wall = time.monotonic() - start
    all_s = [value for one in heard for value in one.first_audio_s]
    return {
        "sessions": sessions,
        "median_ms": percentile(all_s, 50) * 1000,
        "p95_ms": percentile(all_s, 95) * 1000,
        "missing": sum(one.missing for one in heard),
        "cpu_percent_a_session": 100 * (cpu_s(server) - before) / wall / sessions,
        "rss_mb": server.memory_info().rss / 1e6,
        "load": os.getloadavg()[0],
    }


async def carry(counts: list[int], turns: int, console: Console) -> list[dict[str, Any]]:
    table = Table("sessions", "added delay, median ms", "p95 ms", "missing", "% of a core each", "RSS MB", "load")
    results = []
    for count in counts:
        port = free_port()
        with process(parley(FAST, port), port) as server:
            result = await many(port, server, count, turns, chunk_ms=40)
            results.append(result)
            table.add_row(
                str(count),
                f"{result['median_ms'] - SILENCE_MS:.0f}",
                f"{result['p95_ms'] - SILENCE_MS:.0f}",
                str(result["missing"]),
                f"{result['cpu_percent_a_session']:.1f}",
                f"{result['rss_mb']:.0f}",
                f"{result['load']:.1f}",
            )
    console.print(table)
    return results


async def beside_pipecat(python: str, counts: list[int], turns: int, console: Console) -> list[dict[str, Any]]:
    """The same stages, sound and pace, first here, then there, at each number of sessions."""
    table = Table("sessions", "service", "first audio, median ms", "p95 ms", "missing", "% of a core each", "RSS MB")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "question.pcm"
        sound.write_bytes(Clip(question(), RATE_HZ).pcm16())
        for count in counts:
            port, other = free_port(), free_port()
            with process(parley(FAST, port), port) as server:
                ours = await many(port, server, count, turns, chunk_ms=CHUNK_MS)
            peers = HOME / "bench" / "peers"
            with process(
                [python, str(peers / "pipecat_bot.py"), str(other), json.dumps(FAST | {"reply": REPLY})], other
            ) as server:
                client = await asyncio.create_subprocess_exec(
                    python,
                    str(peers / "pipecat_client.py"),
                    str(other),
                    str(count),
                    str(turns),
                    str(server.pid),
                    str(sound),
                    stdout=subprocess.PIPE,
                )
                out, _ = await client.communicate()
                theirs = json.loads(out)
            for service, result in (("parley", ours), ("pipecat", theirs)):
                results.append({"service": service, **result})
                table.add_row(
                    str(count),
                    service,
                    f"{result['median_ms']:.0f}",
                    f"{result['p95_ms']:.0f}",
                    str(result["missing"]),
                    f"{result['cpu_percent_a_session']:.1f}",
                    f"{result['rss_mb']:.0f}",
                )
    console.print(table)
    return results


async def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    console = Console(width=120)
    results: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    console.print(f"{os.cpu_count()} cores, load {results['load']:.1f}")
    if chosen.carry:
        results["carry"] = await carry(chosen.carry, 3, console)
        return results
    results["first_audio"] = await first_audio(chosen.turns, console)
    results["interruption"] = await interruption(chosen.turns, console)
    results["hanging_up"] = await hanging_up(chosen.turns, console)
    if chosen.peer_python:
        results["peers"] = await beside_pipecat(chosen.peer_python, chosen.sessions, 4, console)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "STAGES"), help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--carry", type=int, nargs="+", metavar="SESSIONS")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 8], help="beside the peer")
    parser.add_argument("--peer-python", metavar="PATH")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    chosen = parser.parse_args()
    if chosen.serve:
        serve(int(chosen.serve[0]), json.loads(chosen.serve[1]))
        return
    results = asyncio.run(measure(chosen))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
