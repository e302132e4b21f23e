"""Each local model killed again and again during its work: whether every conversation continues, and how soon.

    python -m bench.kill [--kills 20] [--sessions 3] [--whisper]

Starts the service with its embedded engines, or with a small Whisper in place of its recogniser. All sessions send
questions without a pause; `kill -9` hits one model's process at a random moment of a turn. "next good reply": time
from the kill to the next complete reply in any session. A turn without a reply or an error within 20 s counts as hung.
"""

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from pipeline.settings import HOME
from tests.questions import sample
from tests.server_process import ServerProcess, receive, serving

TURN_S = 20.0
WHISPER = {"STT_ENGINE": "whisper", "WHISPER_MODEL": str(HOME / "tests" / "models" / "whisper-tiny-words")}


@dataclass
class Seen:
    """Observations of all sessions; replies with the time of their last byte."""

    answers: list[float] = field(default_factory=list)
    errors: list[tuple[float, str]] = field(default_factory=list)
    hung: int = 0
    broken: int = 0
    """Connections that ended."""


def converse(server: ServerProcess, seen: Seen, stop: threading.Event) -> None:
    question = sample("what_is_two_plus_three")
    try:
        with server.connect() as connection:
            while not stop.is_set():
                connection.send(question)
                told = receive(connection)
                if isinstance(told, dict) and "error" not in told:
                    told = receive(connection)
                now = time.monotonic()
                if isinstance(told, bytes) and len(told) > 1000:
                    seen.answers.append(now)
                else:
                    seen.errors.append((now, str(told)[:200]))
    except TimeoutError:
        seen.hung += 1
    except Exception as error:
        seen.broken += 1
        seen.errors.append((time.monotonic(), repr(error)))


@contextmanager
def conversations(server: ServerProcess, count: int) -> Iterator[Seen]:
    seen, stop = Seen(), threading.Event()
    threads = [threading.Thread(target=converse, args=(server, seen, stop)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def process_of(server: ServerProcess, kind: str) -> psutil.Process | None:
    for process in server.workers():
        try:
            if process.cmdline()[-1:] == [kind]:
                return process
        except psutil.Error:  # it ended during the look-up
            continue
    return None


def wait_for(server: ServerProcess, kind: str) -> psutil.Process:
    until = time.monotonic() + TURN_S
    while (process := process_of(server, kind)) is None:
        assert time.monotonic() < until, f"{kind} did not restart"
        time.sleep(0.02)
    return process


def next_after(moments: list[float], moment: float) -> float | None:
    until = time.monotonic() + TURN_S
    while time.monotonic() < until:
        if later := [one for one in list(moments) if one > moment]:
            return min(later) - moment
        time.sleep(0.005)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills of each model")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--whisper", action="store_true")
    options = parser.parse_args()
    engines = WHISPER if options.whisper else {}
    chance = random.Random(0)
    table = Table("model", "kills", "next good reply p50", "p95", "worst", "turns with an error", "hung", "broken")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **engines) as server:
        for kind in ("whisper" if options.whisper else "sphinx", "espeak"):
            with conversations(server, options.sessions) as seen:
                took: list[float] = []
                never = 0
                time.sleep(2)
                for _ in range(options.kills):
                    process = wait_for(server, kind)
                    time.sleep(chance.uniform(0.2, 0.9))
                    process = process_of(server, kind) or process
                    process.kill()
                    after = next_after(seen.answers, time.monotonic())
                    if after is None:
                        never += 1
                    else:
                        took.append(after)
            p50, p95 = np.percentile(took, [50, 95])
            table.add_row(
                kind, str(options.kills), f"{p50:.2f} s", f"{p95:.2f} s", f"{max(took):.2f} s",
                str(len(seen.errors)), str(seen.hung + never), str(seen.broken),
            )  # fmt: skip
            for _, error in seen.errors[:5]:
                print(kind, error)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
