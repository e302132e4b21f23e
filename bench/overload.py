"""Three times as many conversations as the service has slots: whether the accepted ones keep their latency.

    python -m bench.overload [--slots 8] [--seconds 60] [--whisper | --waiting] [--processes 2] [--ray]

First as many speakers as there are slots (MAX_SESSIONS), then three times as many, for the given seconds each; real
sockets, sound at the pace of speech, as in `bench.load`. A refused speaker returns after the time in Retry-After, until
it is accepted. Printed: first audio of the accepted speakers, refusals by kind, and the service's memory before and
after. With --waiting the engines only wait (`bench.waiting`), so that the slots are the limit and not the cores. With
--ray the models are on two Ray nodes of this machine.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bench import waiting
from bench.load import PATIENCE_S, RATE_HZ, WHISPER, Question, Seen, Speaker
from bench.rows import Rows
from tests.server_process import ServerProcess, serving

TIMES = 3


async def insist(url: str, speaker: Speaker, late_s: float, until: float, told: Counter[str]) -> None:
    """Connect one speaker, retry after each refusal until it is accepted, and then talk to the end."""
    await asyncio.sleep(late_s)
    while time.monotonic() < until:
        try:
            async with connect(url, max_size=None, open_timeout=PATIENCE_S):
                pass
        except InvalidStatus as refusal:
            headers = refusal.response.headers
            told[f"{refusal.response.status_code}, Retry-After {headers.get('Retry-After')}"] += 1
            await asyncio.sleep(float(headers.get("Retry-After", 1)))
            continue
        await speaker.run(until)


async def crowd(server: ServerProcess, speakers: int, seconds: float) -> tuple[Seen, Counter[str]]:
    seen, told, question = Seen(), Counter[str](), Question()
    url = f"ws://127.0.0.1:{server.port}/ws?stream=1&rate={RATE_HZ}"
    until = time.monotonic() + seconds
    await asyncio.gather(
        *(
            insist(url, Speaker(url, question, seen, 0.0), 4.0 * number / speakers, until, told)
            for number in range(speakers)
        )
    )
    return seen, told


def memory_mb(server: ServerProcess) -> float:
    """Memory of the service and its models."""
    process = psutil.Process(server.process.pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--slots",
        type=int,
        default=8,
        help="number of slots: as many conversations as the machine carries; see bench.load",
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--whisper", action="store_true")
    parser.add_argument("--waiting", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    rows = Rows("speakers", "first audio p50", "p95", "turns", "failed", "memory MB", "refused")
    engines = waiting.settings() if options.waiting else WHISPER if options.whisper else {}
    settings = {**engines, "MAX_SESSIONS": str(options.slots), "PROCESSES": str(options.processes)}
    if options.waiting:
        settings |= {"STT_REPLICAS": "4", "TTS_REPLICAS": "4"}
    with ExitStack() as stack:
        if options.ray:
            from bench.ray_nodes import cluster

            settings |= stack.enter_context(cluster()).settings
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving(folder, **settings))
        asyncio.run(crowd(server, options.slots, 10))  # every engine has been used once
        for speakers in (options.slots, TIMES * options.slots):
            before = memory_mb(server)
            seen, told = asyncio.run(crowd(server, speakers, options.seconds))
            first = seen.first_audio_s or [float("nan")]
            rows.add(
                str(speakers), f"{statistics.median(first):.3f} s", f"{np.percentile(first, 95):.3f} s",
                str(seen.completed), str(sum(seen.failed.values())), f"{before:.0f} → {memory_mb(server):.0f}",
                "; ".join(f"{number} × {how}" for how, number in told.items()) or "0",
            )  # fmt: skip


if __name__ == "__main__":
    main()
