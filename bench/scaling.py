"""First audio against the number of speakers, and turns a minute against the number of replicas, on engines that wait.

    python -m bench.scaling [--speakers 1 8 32 64] [--services one two apart ray] [--seconds 20] [--plot SVG]
    python -m bench.scaling --replicas 1 2 4

Services whose engines only wait (`bench.waiting`: transcript 80 ms, first token 120 ms, first speech 40 ms), so that
the cores carry the service and the speakers and no models. All else is real: workers, sockets, speech detection, and
for `ray` a head and two nodes as separate raylets. Speakers as in `bench.crowd`: sound at the pace of speech, in
messages of 20 ms, first audio from the end of the speech. "front": CPU of the processes that serve connections, for a
second of a conversation; "models": that of the other processes of the service; "speakers": that of the speakers, who
use the same cores. "calls": model calls a turn, with partial transcripts. "late": how late a process that sleeps for a
millisecond wakes up (p99), the machine's share of all this. Below: the conversations that each service carries, with
at most 50 ms more at p95 than the fewest speakers of the first service wait. Two services "apart" share nothing but the
cores, so they carry the most that two fronts could.

Replicas: clients send whole utterances, one after the other, to a recogniser that takes a second.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path

import httpx
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from bench import waiting
from bench.crowd import speak
from bench.load import Seen
from bench.rows import Rows
from pipeline.audio.clip import Samples
from tests.questions import sample
from tests.server_process import ServerProcess, killed

SERVICES = {"one": "one process", "two": "two fronts", "apart": "two services", "ray": "two Ray nodes"}
CLIENTS_A_REPLICA = 4
COPIES = {"STT_REPLICAS": "12", "TTS_REPLICAS": "4"}
"""Copies of the models: enough for 150 speakers."""
RAY_COPIES = {"STT_REPLICAS": "4", "TTS_REPLICAS": "4"}
"""Copies of the models that Ray starts in time on two cores: enough for 64 speakers."""
MOST_FAILED = 0.05
"""Share of failed turns above which a row is not in the plot."""
MOST_ADDED_MS = 50.0
"""Most that conversations may wait longer, at p95, than the fewest speakers of the first service."""
SLOW_STT_S = 1.0
COLOURS = {"one": "#c0392b", "two": "#2471a3", "apart": "#7d3c98", "ray": "#1e8449"}


@contextmanager
def services(kind: str) -> Iterator[list[ServerProcess]]:
    """Run one process, two fronts, two services of one process each, or one with its models on two Ray nodes. The
    copies of the models are enough for all speakers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Interpreters of their own, so that the fronts are found by their command.
        settings = waiting.settings() | COPIES | {"PYTHONUNBUFFERED": "1"}
        if kind == "two":
            settings["PROCESSES"] = "2"
        if kind == "ray":
            from bench.ray_nodes import cluster

            settings |= stack.enter_context(cluster()).settings | RAY_COPIES
        folders = [folder / str(number) for number in range(2 if kind == "apart" else 1)]
        for one in folders:
            one.mkdir()
        yield [stack.enter_context(killed(one, **settings)) for one in folders]


def used_s(servers: Sequence[ServerProcess]) -> Samples:
    """Return the CPU seconds used so far by the processes that serve connections, by the other ones of the service, and
    by this one, which has the speakers."""
    mains, ours = [psutil.Process(server.process.pid) for server in servers], psutil.Process()
    used = np.zeros(3, np.float32)
    for one in (*mains, *(child for server in servers for child in server.children()), ours):
        kind = 2 if one == ours else 0 if one in mains or "commands.front" in one.cmdline() else 1
        used[kind] += sum(one.cpu_times()[:2])
    return used


def calls(servers: Sequence[ServerProcess]) -> float:
    """Return the calls of models so far."""
    texts = [httpx.get(f"{server.url}/metrics", timeout=60).text for server in servers]
    families = [family for text in texts for family in text_string_to_metric_families(text)]
    samples = [one for family in families for one in family.samples]
    return sum(one.value for one in samples if one.name == "parley_queue_wait_seconds_count")


def talk(servers: Sequence[ServerProcess], speakers: int, seconds: float) -> tuple[Seen, list[float]]:
    """Return what the speakers have seen, and how late each sleep of a millisecond has ended meanwhile, in seconds."""
    late: list[float] = []
    over = threading.Event()

    def naps() -> None:
        while not over.wait(0.1):
            began = time.perf_counter()
            time.sleep(0.001)
            late.append(time.perf_counter() - began - 0.001)

    watching = threading.Thread(target=naps)
    watching.start()
    try:
        return speak([server.port for server in servers], speakers, seconds), late
    finally:
        over.set()
        watching.join()


def by_speakers(
    kinds: Sequence[str], counts: Sequence[int], seconds: float
) -> dict[str, list[tuple[int, float, float]]]:
    """Measure and print; return speakers, p50 and p95 in ms of each kind of service."""
    rows = Rows(
        "service      ",
        "speakers",
        "first audio p50",
        "p95",
        "turns/min",
        "refused",
        "failed",
        "front",
        "models",
        "speakers",
        "calls",
        "late",
    )
    found: dict[str, list[tuple[int, float, float]]] = {}
    for kind in kinds:
        with services(kind) as servers:
            talk(servers, 8, 10)  # each process has done all once
            for speakers in counts:
                used, called, began = used_s(servers), calls(servers), time.monotonic()
                seen, late = talk(servers, speakers, seconds)
                took = time.monotonic() - began
                used_ms = 1000 * (used_s(servers) - used) / took / speakers
                first_ms = 1000 * np.array(seen.first_audio_s or [float("nan")])
                p50, p95 = np.percentile(first_ms, [50, 95])
                if sum(seen.failed.values()) <= MOST_FAILED * seen.completed:  # those that fail are not in the times
                    found.setdefault(kind, []).append((speakers, float(p50), float(p95)))
                rows.add(
                    SERVICES[kind], str(speakers), f"{p50:.0f} ms", f"{p95:.0f} ms",
                    f"{seen.completed * 60 / took:.0f}", str(seen.refused), str(sum(seen.failed.values())),
                    *(f"{ms:.1f} ms/s" for ms in used_ms),
                    f"{(calls(servers) - called) / max(1, seen.completed):.1f}",
                    f"{1000 * np.percentile(late, 99):.0f} ms",
                )  # fmt: skip
    return found


def carried(points: Sequence[tuple[int, float, float]], limit_ms: float) -> int:
    """Return the most speakers whose p95 is within the limit. points: speakers, p50 and p95 in ms, ascending."""
    return max((speakers for speakers, _, _ in takewhile(lambda point: point[2] <= limit_ms, points)), default=0)


async def turns_a_minute(server: ServerProcess, clients: int, seconds: float) -> float:
    """Return the complete turns a minute of clients that send one file after the other."""
    done = 0
    until = time.monotonic() + seconds

    async def one() -> None:
        nonlocal done
        async with connect(f"ws://127.0.0.1:{server.port}/ws", max_size=None, open_timeout=60) as socket:
            while time.monotonic() < until:
                await socket.send(sample("what_is_two_plus_three"))
                told = json.loads(await socket.recv())
                assert "error" not in told, told
                assert isinstance(await socket.recv(), bytes)
                done += time.monotonic() < until

    await asyncio.gather(*(one() for _ in range(clients)))
    return done * 60 / seconds


def by_replicas(counts: Sequence[int], seconds: float) -> None:
    """Measure and print turns a minute."""
    rows = Rows("replicas", "turns/min", "ratio", "most possible")
    first = 0.0
    for count in counts:
        settings = waiting.settings(stt_s=SLOW_STT_S, first_token_s=0.0, tokens_per_s=1000.0, first_audio_s=0.01)
        settings |= {"STT_REPLICAS": str(count), "TTS_REPLICAS": str(count)}
        with tempfile.TemporaryDirectory() as folder, killed(Path(folder), **settings) as server:
            asyncio.run(turns_a_minute(server, 1, 3))
            turns = asyncio.run(turns_a_minute(server, CLIENTS_A_REPLICA * count, seconds))
        first = first or turns / count
        rows.add(str(count), f"{turns:.0f}", f"{turns / first:.2f}", f"{60 / SLOW_STT_S * count:.0f}")


def svg(found: dict[str, list[tuple[int, float, float]]]) -> str:
    """Return a plot: speakers against first audio, on logarithmic axes. Solid: p50; dashed: p95."""
    width, height, left, bottom, top = 640, 400, 60, 350, 30
    counts = sorted({speakers for points in found.values() for speakers, _, _ in points})
    values = [value for points in found.values() for _, *both in points for value in both if value == value]
    low, high = min(values) * 0.8, max(values) * 1.25

    def x(speakers: float) -> float:
        span = np.log(counts[-1] / counts[0]) or 1.0
        return float(left + np.log(speakers / counts[0]) / span * (width - left - 130))

    def y(value: float) -> float:
        return float(bottom - np.log(value / low) / np.log(high / low) * (bottom - top))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{left} {top}V{bottom}H{width - 130}" fill="none" stroke="#555"/>',
        f'<text x="{left}" y="18">first audio in ms (solid: p50, dashed: p95)</text>',
        f'<text x="{(width - 130) / 2:.0f}" y="{height - 10}">speakers</text>',
    ]
    for count in counts:
        parts.append(f'<text x="{x(count):.0f}" y="{bottom + 18}" text-anchor="middle">{count}</text>')
    for mark in (250, 500, 1000, 2000, 4000, 8000, 16000, 32000):
        if low <= mark <= high:
            parts.append(f'<text x="{left - 6}" y="{y(mark) + 4:.0f}" text-anchor="end">{mark}</text>')
            parts.append(f'<path d="M{left} {y(mark):.1f}H{width - 130}" stroke="#ddd"/>')
    for number, (kind, points) in enumerate(found.items()):
        for index, dash in ((1, ""), (2, ' stroke-dasharray="6 4"')):
            line = " ".join(
                f"{x(point[0]):.1f},{y(point[index]):.1f}" for point in points if point[index] == point[index]
            )
            parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[kind]}" stroke-width="2"{dash}/>')
        parts.append(
            f'<text x="{width - 120}" y="{top + 20 + 18 * number}" fill="{COLOURS[kind]}">{SERVICES[kind]}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 8, 32, 48, 64])
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=["one", "two"])
    parser.add_argument("--replicas", type=int, nargs="+", help="measure this instead")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--plot", type=Path, help="write an SVG")
    options = parser.parse_args()
    if options.replicas:
        by_replicas(options.replicas, options.seconds)
        return
    found = by_speakers(options.services, options.speakers, options.seconds)
    limit_ms = found[options.services[0]][0][2] + MOST_ADDED_MS
    for kind, points in found.items():
        print(f"{SERVICES[kind]}: {carried(points, limit_ms)} conversations")
    if options.plot:
        options.plot.write_text(svg(found), "utf-8")


if __name__ == "__main__":
    main()
