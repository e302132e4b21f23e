"""Transcription of files: the service against faster-whisper called directly, on the same weights.

    python -m bench.transcribe MODEL RECORDING [--files 8] [--rounds 2]

MODEL is a folder with a CTranslate2 Whisper, RECORDING any file. Prints seconds of sound per second, p50 and p95 of a
file, the memory of the whole process tree, and the response times of /health meanwhile. The direct calls go one after
the other through one model with faster-whisper's VAD filter, as in a script.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from pipeline.audio.decode import Recording
from tests.server_process import ServerProcess, constants, serving


def seconds_of(recording: Path) -> float:
    with recording.open("rb") as file:
        return sum(len(block) for block in Recording(file, max_seconds=1e6).blocks()) / 16_000


def direct(model: str, recording: Path, files: int) -> list[float]:
    """Seconds of each of this many calls."""
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8")
    taken = []
    for _ in range(files):
        began = time.perf_counter()
        segments, _ = whisper.transcribe(
            str(recording), language="en", beam_size=1, vad_filter=True, condition_on_previous_text=False
        )
        list(segments)
        taken.append(time.perf_counter() - began)
    return taken


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


def show(what: str, taken: list[float], whole_s: float, sound_s: float) -> str:
    p95 = sorted(taken)[min(len(taken) - 1, int(0.95 * len(taken)))]
    return (
        f"{what:<28}{len(taken) * sound_s / whole_s:7.1f} s of sound a second, "
        f"a file p50 {statistics.median(taken):.1f} s, p95 {p95:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--files", type=int, default=8)
    chosen = parser.parse_args()
    sound_s = seconds_of(chosen.recording)
    print(f"{chosen.recording.name}: {sound_s:.0f} s")
    model = str(Path(chosen.model).resolve())
    for files in (1, chosen.files):
        taken = direct(model, chosen.recording, files)
        print(show(f"faster-whisper, {files} in a row", taken, sum(taken), sound_s))
    settings = {
        "WHISPER_MODEL": model, "MAX_FILES": str(max(8, chosen.files)),
        **constants({}, by_default=False),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), STT_ENGINE="whisper", **settings) as server:
        print(f"service at rest: {memory_mb(server):.0f} MB")
        for files in (1, chosen.files):
            began = time.perf_counter()
            taken, health, peak = asyncio.run(served(server, chosen.recording, files))
            print(show(f"service, {files} at a time", taken, time.perf_counter() - began, sound_s))
            p99 = sorted(health)[int(0.99 * (len(health) - 1))]
            print(f"{'':<28}/health p50 {1000 * statistics.median(health):.0f} ms, p99 {1000 * p99:.0f} ms "
                  f"of {len(health)}; peak {peak:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
