"""The cost of passing sound from the service to a model's process.

    python -m bench.boundary

One call sends a clip (16 kHz) and returns only its length; the engine does nothing else. "Loop" is the time for which
the call blocks the event loop, which serves all connections.
"""

import asyncio
import statistics
import time

import numpy as np

from bench.rows import Rows
from pipeline.audio.clip import Clip
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, Worker, open_worker

SECONDS = (0.02, 1.0, 10.0, 60.0, 600.0)
ROUNDS = 15


class Length:
    """An engine that returns the clip's length."""

    def __init__(self, config: None) -> None:
        pass

    def of(self, clip: Clip) -> float:
        return clip.seconds


async def cost(worker: Worker, clip: Clip) -> tuple[float, float]:
    """Median milliseconds of a call, and of the event loop's own CPU time in it."""
    took, busy = [], []
    for _ in range(ROUNDS):
        began, worked = time.perf_counter(), time.thread_time()
        await worker.call("of", clip)
        took.append(time.perf_counter() - began)
        busy.append(time.thread_time() - worked)
    return statistics.median(took) * 1000, statistics.median(busy) * 1000


async def measure() -> None:
    rows = Rows("sound", "process", "of it loop", "thread", "of it loop")
    spec = EngineSpec("length", "bench.boundary:Length", None)
    async with (
        open_worker(spec, Settings(model_host="local"), Serving(30)) as process,
        open_worker(spec, Settings(model_host="thread"), Serving(30)) as thread,
    ):
        for seconds in SECONDS:
            clip = Clip(np.random.default_rng(0).standard_normal(int(seconds * 16_000)).astype(np.float32), 16_000)
            cells = [f"{value:.2f} ms" for worker in (process, thread) for value in await cost(worker, clip)]
            rows.add(f"{seconds:g} s", *cells)


if __name__ == "__main__":
    asyncio.run(measure())
