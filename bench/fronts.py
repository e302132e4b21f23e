"""How many live conversations one process carries, and how many two: scripted stages, real clocks, real WebSockets.

python -m bench.fronts [--processes 1 2] [--carry 64 96 128 160] [--turns 3]

The service is Parley with PROCESSES, but with stages that only wait (`bench.scripted`). The clients (`bench.speaker`)
speak in real time, in as many processes as the service has, on the same cores. The added delay is that of the first
sound beyond the endpointing delay of 500 ms; the CPU is that of all processes of the service.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import uvicorn
import uvloop
from rich.console import Console
from rich.table import Table

from bench.conversation import SILENCE_MS
from bench.scripted import FAST, REPLY
from bench.speaker import converse, percentile
from commands.start import leave, run_to_end
from jobs.service import Jobs, open_jobs
from pipeline.assistant import Assistant
from pipeline.conversation.turn import Stages
from pipeline.settings import HOME, Settings
from pipeline.voices.catalogue import Voices
from server.app import create_app
from server.fronts.front import FrontServer, joining
from server.fronts.main_process import MainProcess
from server.http.draining import Draining
from server.http.shutdown import Server
from server.http.uvicorn_protocols import bounded
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

CHUNK_MS = 40
LISTENING = "listening"
DRAIN_S = 1.0


def settings_of(processes: int) -> Settings:
    values: dict[str, Any] = {"max_sessions": 1000, "processes": processes, "drain_seconds": DRAIN_S, "job_workers": 0}
    return Settings(_env_file=None, database_url="sqlite:///:memory:", **values)  # type: ignore[call-arg]


async def serve(processes: int) -> None:
    """Serve with this many processes, on the port that is printed."""
    settings = settings_of(processes)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)

    def announce() -> None:
        print(LISTENING, listening.getsockname()[1], flush=True)

    if processes > 1:
        await MainProcess(settings, listening, announce, module="bench.fronts").run()
        return

    def server(config: uvicorn.Config, draining: Draining, jobs: Jobs) -> Server:
        announce()
        return Server(config, draining, jobs, drain_s=DRAIN_S)

    await _scripted(settings, server, [listening])


async def front(link: int, channel: int) -> None:
    """Serve as one of several processes."""
    async with joining(socket.socket(fileno=link), socket.socket(fileno=channel)) as (told, joined, hatch):

        def server(config: uvicorn.Config, draining: Draining, jobs: Jobs) -> Server:
            return FrontServer(config, draining, jobs, joined, hatch, drain_s=DRAIN_S)

        await _scripted(told.settings, server)


async def _scripted(
    settings: Settings,
    server_of: Callable[[uvicorn.Config, Draining, Jobs], Server],
    sockets: list[socket.socket] | None = None,
) -> None:
    stages = Stages(
        stt=ScriptedSTT(seconds=FAST["stt_s"]),
        llm=ScriptedLLM(REPLY, FAST["first_token_s"], FAST["tokens_per_s"]),
        tts=ScriptedTTS(first_s=FAST["first_audio_s"]),
    )
    assistant = Assistant(settings, stages, Voices.load(settings), lambda: ())
    async with open_jobs(settings, assistant.transcriber) as jobs:
        draining = Draining()
        app = create_app(settings, assistant, jobs, draining)
        await server_of(uvicorn.Config(app, log_level="warning", **bounded(settings)), draining, jobs).serve(sockets)


@contextmanager
def service(processes: int) -> Iterator[tuple[int, psutil.Process]]:
    """Run the service; yield its port, and its main process."""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.fronts", "--serve", str(processes)],
            cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line.startswith(LISTENING):
                raise RuntimeError("the service did not start")
            yield int(line.split()[1]), psutil.Process(child.pid)
        finally:
            child.terminate()
            child.wait(30)


async def converse_many(port: int, sessions: int, turns: int) -> None:
    """Run this many users, started one after the other over 5 s; print their delays and missing replies."""
    heard = await asyncio.gather(
        *(
            converse(port, turns, chunk_ms=CHUNK_MS, wait_s=5 * one / sessions, silence_ms=SILENCE_MS)
            for one in range(sessions)
        )
    )
    delays = [value for one in heard for value in one.first_audio_s]
    print(json.dumps({"delays_s": delays, "missing": sum(one.missing for one in heard)}))


def measure(processes: int, sessions: int, turns: int) -> tuple[float, float, int, float]:
    """Return the added delay (median and p95, in ms), the missing replies, and the cores that the service used."""
    with service(processes) as (port, main):
        parts = [sessions // processes + (one < sessions % processes) for one in range(processes)]
        before, began = _cpu_s(main), time.monotonic()
        clients = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.fronts", "--clients", str(port), str(part), str(turns)],
                cwd=HOME, stdout=subprocess.PIPE, text=True,
            )
            for part in parts
        ]  # fmt: skip
        told = [json.loads(client.communicate()[0]) for client in clients]
        cores = (_cpu_s(main) - before) / (time.monotonic() - began)
    delays = [delay for one in told for delay in one["delays_s"]]
    median, p95 = (percentile(delays, share) * 1000 - SILENCE_MS for share in (50, 95))
    return median, p95, sum(one["missing"] for one in told), cores


def _cpu_s(main: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in [main, *main.children(recursive=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--carry", type=int, nargs="+", metavar="SESSIONS", default=[64, 96, 128, 160])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("front", type=int, nargs="*", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.front:
        run_to_end(front(*chosen.front), uvloop.new_event_loop)
        leave()
    if chosen.serve:
        run_to_end(serve(chosen.serve), uvloop.new_event_loop)
        leave()
    if chosen.clients:
        asyncio.run(converse_many(*chosen.clients))
        return
    table = Table("processes", "conversations", "added delay, median ms", "p95 ms", "missing", "cores", "load")
    for processes in chosen.processes:
        for sessions in chosen.carry:
            median, p95, missing, cores = measure(processes, sessions, chosen.turns)
            table.add_row(
                str(processes), str(sessions), f"{median:.0f}", f"{p95:.0f}", str(missing), f"{cores:.2f}",
                f"{os.getloadavg()[0]:.1f}",
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
