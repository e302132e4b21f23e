"""The cost of a call through Ray Serve, against the same engine in a worker process of this service.

    python -m bench.ray_calls

Needs the extra `ray`. The engine computes nothing, so that all of the time is the way to it and back: a transcript of
3 s of speech; the first chunk of speech of a clause; and for a closed stream, the time until the engine has stopped,
which looks every millisecond. Both workers take turns in the same run. `added` is the difference of the percentiles.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from bench.rows import Rows
from pipeline.audio.clip import Clip
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.workers import EngineSpec, Serving, Worker, open_model_host, open_worker

ROUNDS = 300
WARM_UP = 30
LIMIT_MS = 3.0
"""Most that Ray may add at p50."""
UTTERANCE = Clip(np.random.default_rng(0).standard_normal(3 * 16_000).astype(np.float32), 16_000)


class Ready:
    """An engine whose results are ready."""

    def __init__(self, config: None) -> None:
        self._chunk = Clip(np.zeros(6_000, np.float32), 24_000)

    def transcribe(self, clip: Clip) -> Iterator[Transcript | None]:
        yield None
        yield Transcript("What time is it?", "en", clip.seconds)

    def speak(self, text: str) -> Iterator[Clip]:
        for _ in range(4):
            yield self._chunk

    def until_closed(self, path: str) -> Iterator[None]:
        try:
            while True:
                yield None
                time.sleep(0.001)
        finally:
            Path(path).write_text(str(time.monotonic()))


async def transcript(worker: Worker) -> float:
    """Return the milliseconds until the transcript."""
    began = time.perf_counter()
    async with aclosing(worker.stream("transcribe", UTTERANCE)) as steps:
        async for step in steps:
            if step is not None:
                return (time.perf_counter() - began) * 1000
    raise AssertionError("no transcript")


async def first_chunk(worker: Worker) -> float:
    """Return the milliseconds until the first chunk."""
    began = time.perf_counter()
    async with aclosing(worker.stream("speak", "It is three o'clock.")) as chunks:
        await anext(chunks)
        took = time.perf_counter() - began
        async for _ in chunks:
            pass
    return took * 1000


async def stopped(worker: Worker) -> float:
    """Return the milliseconds from closing the stream until the engine has stopped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stopped"
        async with aclosing(worker.stream("until_closed", str(path))) as steps:
            await anext(steps)
            began = time.monotonic()
        return (await asyncio.to_thread(written, path) - began) * 1000


def written(path: Path) -> float:
    """Wait until a file has a number, and return it. Blocking."""
    while not (path.exists() and (text := path.read_text())):
        time.sleep(0.001)
    return float(text)


async def measure() -> None:
    rows = Rows("", "process p50", "p95", "ray p50", "p95", "added p50", "p95")
    spec = EngineSpec("ready", "bench.ray_calls:Ready", None)
    on_ray = Settings(model_host="ray")
    met = True
    async with (
        open_model_host(on_ray),
        open_worker(spec, Settings(), Serving(30)) as process,
        open_worker(spec, on_ray, Serving(30)) as ray,
    ):
        kinds: list[tuple[str, Callable[[Worker], Awaitable[float]], int]] = [
            ("transcript", transcript, ROUNDS), ("first chunk", first_chunk, ROUNDS), ("stopped", stopped, ROUNDS // 5),
        ]  # fmt: skip
        for name, kind, rounds in kinds:
            took: dict[str, list[float]] = {"process": [], "ray": []}
            for number in range(WARM_UP + rounds):
                for host, worker in (("process", process), ("ray", ray)):
                    ms = await kind(worker)
                    if number >= WARM_UP:
                        took[host].append(ms)
            ours, theirs = (percentiles(took[host]) for host in ("process", "ray"))
            added = [b - a for a, b in zip(ours, theirs, strict=True)]
            rows.add(name, *(f"{ms:.2f} ms" for ms in (*ours, *theirs, *added)))
            met = met and (name == "stopped" or added[0] <= LIMIT_MS)
    print(f"added at p50 within {LIMIT_MS:g} ms: {'yes' if met else 'NO'}")


def percentiles(values: list[float]) -> tuple[float, float]:
    """Return p50 and p95."""
    return statistics.median(values), statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    asyncio.run(measure())
