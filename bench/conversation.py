"""Latency and capacity of live conversations: scripted stages with real clocks, over the real WebSocket of one process.

python -m bench.conversation                              Parley alone
python -m bench.conversation --peer-python VENV/bin/python   the same beside pipecat (pip install
                                                          'pipecat-ai[websocket]==1.14.0' uvicorn psutil in VENV)
python -m bench.conversation --carry 1 8 16 32 64 96      how many conversations one process carries

One process is the server (`bench.scripted`), this one has its clients (`bench.speaker`), which speak a question
synthesised with eSpeak in real time. "First audio" is the time from sending the user's last sample to receiving the
reply's first sample.
"""

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.scripted import FAST, REPLY, SLOW, parley, process, work_s
from bench.speaker import CHUNK_MS, RATE_HZ, converse, percentile, question, speaker
from pipeline.audio.clip import Clip
from pipeline.settings import HOME
from tests.servers.running import closed_port

SILENCE_MS = 500
SPECULATE_MS = 100


async def first_audio(turns: int, console: Console) -> list[dict[str, Any]]:
    table = Table(
        "stages", "speculation", "first audio ms", "over endpointing delay ms", "over critical path", "missing"
    )
    results = []
    for name, stages in (("fast", FAST), ("slow", SLOW)):
        port = closed_port()
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
    """Time from the interrupting speech's first sample to the last received sound, and to the event."""
    port = closed_port()
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
    """Time from a socket's close during a reply, without a close frame, to the end of the last stage call."""
    port = closed_port()
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
        f"hang-up during a reply: last stage call ended after {result['median_ms']:.1f} ms, "
        f"at most {result['max_ms']:.1f}"
    )
    return result


def cpu_s(server: psutil.Process) -> float:
    return sum(server.cpu_times()[:2])


async def many(port: int, server: psutil.Process, sessions: int, turns: int, chunk_ms: int) -> dict[str, Any]:
    """Run this many users at a time, started one after the other over 5 s."""
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
        port = closed_port()
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
    """Run the same stages, sound and pace on Parley, then on the peer, at each number of sessions."""
    table = Table("sessions", "service", "first audio, median ms", "p95 ms", "missing", "% of a core each", "RSS MB")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "question.pcm"
        sound.write_bytes(Clip(question(), RATE_HZ).pcm16())
        for count in counts:
            port, other = closed_port(), closed_port()
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
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--carry", type=int, nargs="+", metavar="SESSIONS")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 8], help="beside the peer")
    parser.add_argument("--peer-python", metavar="PATH")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures to this file")
    chosen = parser.parse_args()
    results = asyncio.run(measure(chosen))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
