"""Many speakers on one Whisper: utterances a second through the worker, which batches waiting calls, against plain
calls of faster-whisper with a lock, in the same run.

    python -m bench.whisper_batch [--size base] [--device cpu] [--compute-type int8] [--concurrent 1 4 16] [--each 4]

Random weights at the real size cost as much as real ones, and these end after as many tokens as a short question has.
Each speaker sends the next utterance as soon as it has its transcript. "CPU": of all processes of a side, for each
utterance; on a busy machine it is more reliable than the clock. "single": seconds of one call of the library and of the
engine (with its voice activity detection), alternating.
"""

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from bench.rows import Rows
from pipeline import stt, workers
from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.settings import Settings
from pipeline.stt import FileRequest, whisper
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.whisper_speech import speech_of
from pipeline.stt.worker_client import last
from tests.builders.whisper import SIZES, build
from tests.questions import sample


def question() -> Clip:
    return decode_blocking(sample("what_is_two_plus_three"), max_seconds=30)


def plain_call(model: Any, sound: Any) -> None:
    """Call the library as a script would for a spoken turn, with the engine's options."""
    segments, _ = model.transcribe(
        sound, language="en", beam_size=1, temperature=[0.0], without_timestamps=True,
        condition_on_previous_text=False,
    )  # fmt: skip
    list(segments)


def plain(model: Any, sound: Any, concurrent: int, each: int) -> float:
    """Utterances a second."""
    lock = threading.Lock()

    def speaker(_: int) -> None:
        for _ in range(each):
            with lock:
                plain_call(model, sound)

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        list(pool.map(speaker, range(concurrent)))
    return concurrent * each / (time.perf_counter() - began)


async def served(speech: Any, clip: Clip, concurrent: int, each: int) -> float:
    """Utterances a second."""

    async def speaker() -> None:
        for _ in range(each):
            await speech.transcribe(clip, language="en", prompt=None, words=False)

    began = time.perf_counter()
    await asyncio.gather(*(speaker() for _ in range(concurrent)))
    return concurrent * each / (time.perf_counter() - began)


def cpu_s() -> float:
    """CPU seconds of this process and of the worker's, so far."""
    times = [psutil.Process().cpu_times(), *(child.cpu_times() for child in psutil.Process().children())]
    return sum(time.user + time.system for time in times)


def single(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call. The calls alternate, so that other load on the machine affects both alike."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            took[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in took.items()}


async def measure(options: argparse.Namespace, folder: Path) -> None:
    from faster_whisper import WhisperModel

    clip = question()
    model = build(folder / "model", multilingual=True, sure=True, seed=0, size=SIZES[options.size])
    library = WhisperModel(
        str(model), device=options.device, compute_type=options.compute_type, cpu_threads=options.threads
    )
    config = WhisperConfig(str(model), ((options.device, options.compute_type),), options.threads, 1, options.context)
    engine = WhisperEngine(config)
    sound = speech_of(clip, FileRequest()).sound
    tokens = len(last(engine.transcribe(clip, "en", None, False)).text) // 12  # the length of the model's random words
    alone = single(
        {
            "library": lambda: plain_call(library, sound),
            "engine": lambda: last(engine.transcribe(clip, "en", None, False)),
        },
        options.single,
    )
    ratio = alone["engine"] / alone["library"]
    print(
        f"{options.size}, {options.compute_type} on {options.device}, {options.threads} thread(s), "
        f"{clip.seconds:.1f} s of speech, {tokens} tokens. Single call: library {alone['library'] * 1000:.0f} ms, "
        f"engine {alone['engine'] * 1000:.0f} ms ({ratio - 1:+.1%})",
        flush=True,
    )
    settings = Settings(
        whisper_model=str(model), whisper_device=options.device, whisper_compute_type=options.compute_type,
        whisper_threads=options.threads, whisper_context_s=options.context, stt_batch=options.batch,
    )  # fmt: skip
    workers.MAX_WAITING, workers.MAX_WAIT_S = 128, 600.0
    stt.TIMEOUT_S = 600.0
    rows = Rows("concurrent", "plain, with a lock", "CPU", "worker, in batches", "CPU", "ratio", "ratio of CPU")
    async with whisper.open_engine(settings, lambda progress: None) as opened:
        for concurrent in options.concurrent:
            rates: dict[str, list[float]] = {"plain": [], "served": []}
            cpu = {"plain": 0.0, "served": 0.0}
            for _ in range(options.rounds):
                marks = [cpu_s()]
                rates["plain"].append(await asyncio.to_thread(plain, library, sound, concurrent, options.each))
                marks.append(cpu_s())
                rates["served"].append(await served(opened.engine, clip, concurrent, options.each))
                marks.append(cpu_s())
                cpu["plain"] += marks[1] - marks[0]
                cpu["served"] += marks[2] - marks[1]
            before, now = statistics.median(rates["plain"]), statistics.median(rates["served"])
            each = {side: spent / (options.rounds * concurrent * options.each) for side, spent in cpu.items()}
            rows.add(
                str(concurrent), f"{before:.2f}/s", f"{each['plain']:.2f} s", f"{now:.2f}/s", f"{each['served']:.2f} s",
                f"{now / before:.2f}", f"{each['plain'] / each['served']:.2f}",
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="base")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--context", type=float, default=30.0, help="WHISPER_CONTEXT_S of our engine")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--each", type=int, default=3, help="utterances of each speaker")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single", type=int, default=10, help="calls of the single measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
