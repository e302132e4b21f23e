"""Transcription: the service against faster-whisper called directly, on the same weights, in alternation.

    python -m bench.transcribe MODEL RECORDING [--files 8] [--utterances FOLDER] [--rounds 3]
        [--set STT_REPLICAS=2 WHISPER_THREADS=1]

MODEL is a folder with a CTranslate2 Whisper, RECORDING any file. Each row is the median of the rounds: seconds of sound
(or utterances) a second, CPU seconds of all processes for each, and the time of one call, p50 and p95. The direct calls
of files go one after the other through one model, as in a script, with the service's beam: with faster-whisper's VAD
filter, and through its batched pipeline (batches of 8). --utterances: a folder of recordings, of which those of 2 to
5 s are sent by 8 clients; the direct calls share one model with the library's defaults (a beam of 5) and a lock. --set:
settings of the service. Also prints the response times of /health and the memory of the service meanwhile.
"""

import argparse
import asyncio
import contextlib
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.rows import Rows
from pipeline.audio.decode import Recording
from pipeline.stt.whisper import BEAM
from tests.server_process import ServerProcess, constants, serving

CLIENTS = 8
MIN_S, MAX_S = 2.0, 5.0
"""Length of an utterance."""
EACH = 6
"""Utterances of each client in a round."""


@dataclass
class Measured:
    """One kind of call, over all rounds."""

    what: str
    run: Callable[[], list[float]]
    """Makes the calls of one round; returns the seconds of each."""
    busy_s: Callable[[], float]
    """CPU seconds so far."""
    amount: float
    """Seconds of sound, or number of utterances, in a call."""
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)

    def round(self) -> None:
        began, before_s = time.perf_counter(), self.busy_s()
        taken = self.run()
        self.rates.append(len(taken) * self.amount / (time.perf_counter() - began))
        self.costs.append((self.busy_s() - before_s) / (len(taken) * self.amount))
        self.taken += taken

    def row(self) -> Sequence[str]:
        p95 = sorted(self.taken)[min(len(self.taken) - 1, int(0.95 * len(self.taken)))]
        return (
            self.what, f"{statistics.median(self.rates):.1f}", f"{1000 * statistics.median(self.costs):.1f} ms",
            f"{statistics.median(self.taken):.2f} s", f"{p95:.2f} s",
        )  # fmt: skip


def seconds_of(recording: Path) -> float:
    with recording.open("rb") as file:
        return sum(len(block) for block in Recording(file, max_seconds=1e6).blocks()) / 16_000


def direct_files(call: Callable[..., Any], recording: Path, files: int, **more: Any) -> list[float]:
    taken = []
    for _ in range(files):
        began = time.perf_counter()
        segments, _ = call(str(recording), language="en", beam_size=BEAM, vad_filter=True, **more)
        list(segments)
        taken.append(time.perf_counter() - began)
    return taken


def by_clients(call: Callable[[Path], object], utterances: Sequence[Path]) -> list[float]:
    """Seconds of the calls of CLIENTS that each go through the utterances from their own position."""

    def client(number: int) -> list[float]:
        taken = []
        for one in itertools.islice(itertools.cycle(utterances), number, number + EACH):
            began = time.perf_counter()
            call(one)
            taken.append(time.perf_counter() - began)
        return taken

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for taken in pool.map(client, range(CLIENTS)) for one in taken]


class Served:
    """The service, watched."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.health: list[float] = []
        """Response times of /health in seconds."""
        self.peak_mb = 0.0
        self._client = httpx.Client(timeout=3600)

    def busy_s(self) -> float:
        """CPU seconds of the service and all its processes so far."""
        own = psutil.Process(self._server.process.pid).cpu_times()
        running = [process.cpu_times() for process in self._server.children()]
        return (
            own.user + own.system + own.children_user + own.children_system
            + sum(times.user + times.system for times in running)
        )  # fmt: skip

    def memory_mb(self) -> float:
        """Resident memory of the service and all its processes."""
        processes = [psutil.Process(self._server.process.pid), *self._server.children()]
        total = 0
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 2**20

    def transcribe(self, recording: Path) -> None:
        answer = self._client.post(
            f"{self._server.url}/v1/audio/transcriptions", files={"file": (recording.name, recording.read_bytes())},
            data={"model": "whisper-1", "language": "en", "response_format": "verbose_json"},
        )  # fmt: skip
        answer.raise_for_status()

    def files(self, recording: Path, count: int) -> list[float]:
        """Transcribe a recording several times at once; return the seconds of each."""

        def one(_: int) -> float:
            began = time.perf_counter()
            self.transcribe(recording)
            return time.perf_counter() - began

        with self.watched(), ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    def utterances(self, utterances: Sequence[Path]) -> list[float]:
        with self.watched():
            return by_clients(self.transcribe, utterances)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Measure /health and the memory while the block runs."""
        ended = threading.Event()

        async def watch() -> None:
            async with httpx.AsyncClient(timeout=60) as client:
                for number in itertools.count():
                    began = time.perf_counter()
                    await client.get(f"{self._server.url}/health")
                    self.health.append(time.perf_counter() - began)
                    if not number % 10:
                        self.peak_mb = max(self.peak_mb, self.memory_mb())
                    await asyncio.sleep(0.1)
                    if ended.is_set():
                        return

        watching = threading.Thread(target=lambda: asyncio.run(watch()))
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()


def measured(options: argparse.Namespace, model: str, server: ServerProcess) -> tuple[list[Measured], Served]:
    """Everything to measure, in the order of a round."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8")
    pipeline = BatchedInferencePipeline(whisper)
    served = Served(server)
    recording, sound_s = options.recording, seconds_of(options.recording)
    print(f"{recording.name}: {sound_s:.0f} s; the service at rest: {served.memory_mb():.0f} MB", flush=True)
    found: list[Measured] = []
    for count in dict.fromkeys((1, options.files)):
        plain = partial(direct_files, whisper.transcribe, recording, count, condition_on_previous_text=False)
        batched = partial(direct_files, pipeline.transcribe, recording, count, batch_size=8)
        ours = partial(served.files, recording, count)
        found += [
            Measured(f"faster-whisper, {count} in a row", plain, time.process_time, sound_s),
            Measured("  its batched pipeline", batched, time.process_time, sound_s),
            Measured(f"service, {count} at a time", ours, served.busy_s, sound_s),
        ]
    if options.utterances:
        utterances = [path for path in sorted(options.utterances.glob("*.wav")) if MIN_S <= seconds_of(path) <= MAX_S]
        lock = threading.Lock()

        def call(path: Path) -> None:
            with lock:
                list(whisper.transcribe(str(path))[0])

        found += [
            Measured("utterances: faster-whisper", lambda: by_clients(call, utterances), time.process_time, 1),
            Measured("utterances: service", lambda: served.utterances(utterances), served.busy_s, 1),
        ]
    return found, served


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--utterances", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the service")
    options = parser.parse_args()
    model = str(Path(options.model).resolve())
    settings = {
        "WHISPER_MODEL": model, "MAX_FILES": str(max(8, options.files)),
        **constants({}, by_default=False), **dict(one.split("=", 1) for one in options.set),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), STT_ENGINE="whisper", **settings) as server:
        all_of_them, served = measured(options, model, server)
        for one in all_of_them:  # caches, lazy imports
            if one.busy_s == served.busy_s:
                one.run()
        served.health.clear()
        for _ in range(options.rounds):
            for one in all_of_them:
                one.round()
        rows = Rows(f"{'':<32}", "a second", "CPU each", "a call p50", "p95")
        for one in all_of_them:
            rows.add(*one.row())
        p99 = sorted(served.health)[int(0.99 * (len(served.health) - 1))]
        print(
            f"/health p50 {1000 * statistics.median(served.health):.0f} ms, p99 {1000 * p99:.0f} ms "
            f"of {len(served.health)}; peak {served.peak_mb:.0f} MB"
        )


if __name__ == "__main__":
    main()
