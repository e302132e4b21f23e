"""Transcription of files: the service against faster-whisper called directly, on the same weights.

    python -m bench.transcribe MODEL RECORDING [--files 8] [--set STT_REPLICAS=2 WHISPER_THREADS=1]

MODEL is a folder with a CTranslate2 Whisper, RECORDING any file. Prints seconds of sound per second, CPU seconds of a
file, p50 and p95 of a file, the memory of the whole process tree, and the response times of /health meanwhile. The
direct calls go one after the other through one model, as in a script: with faster-whisper's VAD filter, and through its
batched pipeline (batches of 8). All decode with the service's beam. --set: settings of the service.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from pipeline.audio.decode import Recording
from pipeline.stt.whisper import BEAM
from tests.server_process import ServerProcess, constants, serving


def seconds_of(recording: Path) -> float:
    with recording.open("rb") as file:
        return sum(len(block) for block in Recording(file, max_seconds=1e6).blocks()) / 16_000


def direct(model: str, recording: Path, files: int, batch: int) -> tuple[list[float], float]:
    """Seconds of each of this many calls, and CPU seconds of all. batch: of the batched pipeline; 1: without it."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8")
    pipeline = BatchedInferencePipeline(whisper)
    options: dict[str, Any] = {"language": "en", "beam_size": BEAM, "vad_filter": True}
    taken, cpu_s = [], time.process_time()
    for _ in range(files):
        began = time.perf_counter()
        if batch > 1:
            segments, _ = pipeline.transcribe(str(recording), batch_size=batch, **options)
        else:
            segments, _ = whisper.transcribe(str(recording), condition_on_previous_text=False, **options)
        list(segments)
        taken.append(time.perf_counter() - began)
    return taken, time.process_time() - cpu_s


def cpu_s_of(server: ServerProcess) -> float:
    """CPU seconds of the service and its workers, so far."""
    processes = [psutil.Process(server.process.pid), *server.workers()]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def memory_mb(server: ServerProcess) -> float:
    """Resident memory of the service and its workers."""
    processes = [psutil.Process(server.process.pid), *server.workers()]
    return sum(process.memory_info().rss for process in processes) / 2**20


async def served(server: ServerProcess, recording: Path, files: int) -> tuple[list[float], list[float], float]:
    """Seconds of each file, of each /health in between, and the peak of memory in MB."""
    data = await asyncio.to_thread(recording.read_bytes)
    peak = memory_mb(server)
    health: list[float] = []

    async def watch(client: httpx.AsyncClient) -> None:
        nonlocal peak
        while True:
            began = time.perf_counter()
            await client.get(f"{server.url}/health")
            health.append(time.perf_counter() - began)
            peak = max(peak, memory_mb(server))
            await asyncio.sleep(0.1)

    async def one(client: httpx.AsyncClient) -> float:
        began = time.perf_counter()
        answer = await client.post(
            f"{server.url}/v1/audio/transcriptions", files={"file": (recording.name, data)},
            data={"model": "whisper-1", "language": "en", "response_format": "verbose_json"},
        )  # fmt: skip
        answer.raise_for_status()
        return time.perf_counter() - began

    async with httpx.AsyncClient(timeout=3600) as client:
        watching = asyncio.create_task(watch(client))
        try:
            taken = await asyncio.gather(*(one(client) for _ in range(files)))
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    return list(taken), health, peak


def show(what: str, taken: list[float], whole_s: float, sound_s: float, cpu_s: float) -> str:
    p95 = sorted(taken)[min(len(taken) - 1, int(0.95 * len(taken)))]
    return (
        f"{what:<34}{len(taken) * sound_s / whole_s:7.1f} s of sound a second, "
        f"a file p50 {statistics.median(taken):.1f} s, p95 {p95:.1f} s, {cpu_s / len(taken):.1f} s of CPU"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the service")
    chosen = parser.parse_args()
    sound_s = seconds_of(chosen.recording)
    print(f"{chosen.recording.name}: {sound_s:.0f} s")
    model = str(Path(chosen.model).resolve())
    for files in (1, chosen.files):
        for batch in (1, 8):
            taken, cpu_s = direct(model, chosen.recording, files, batch)
            name = "faster-whisper" if batch == 1 else "  its batched pipeline"
            print(show(f"{name}, {files} in a row", taken, sum(taken), sound_s, cpu_s), flush=True)
    settings = {
        "WHISPER_MODEL": model, "MAX_FILES": str(max(8, chosen.files)),
        **constants({}, by_default=False), **dict(one.split("=", 1) for one in chosen.set),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), STT_ENGINE="whisper", **settings) as server:
        print(f"service at rest: {memory_mb(server):.0f} MB")
        for files in (1, chosen.files):
            began, before_s = time.perf_counter(), cpu_s_of(server)
            taken, health, peak = asyncio.run(served(server, chosen.recording, files))
            whole_s, cpu_s = time.perf_counter() - began, cpu_s_of(server) - before_s
            print(show(f"service, {files} at a time", taken, whole_s, sound_s, cpu_s))
            p99 = sorted(health)[int(0.99 * (len(health) - 1))]
            print(f"{'':<34}/health p50 {1000 * statistics.median(health):.0f} ms, p99 {1000 * p99:.0f} ms "
                  f"of {len(health)}; peak {peak:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
