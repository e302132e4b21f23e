"""The cost of a start: `make run` in an empty folder, the next start, and memory with the embedded engines.

python -m bench.startup          warm starts and memory
python -m bench.startup --cold   `make run` as well: the committed tree in a temporary folder, a new .venv
python -m bench.startup --fresh [PYTHON …]
                                 only a fresh machine without a hub: `make run` as above, with each Python and with the
                                 models of the package index, until the first spoken answer; megabytes on the disk and
                                 in memory
python -m bench.startup --wheel [PYTHON …]
                                 the same for the wheel: `pip install` into an empty folder, `parley serve`
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from websockets.sync.client import connect

HOME = Path(__file__).resolve().parent.parent
EMBEDDED = {"STT_ENGINE": "sphinx", "LLM_ENGINE": "builtin", "TTS_ENGINE": "espeak"}
AUTOMATIC = {"HF_HUB_OFFLINE": "true", "LLAMA_ENDPOINT": "http://127.0.0.1:9"}
"""Settings that simulate a machine without a hub and without Ollama."""
MAKE_RUN = ("make", "--no-print-directory", "run")
INSTALL = (
    '"$1" -m venv .venv; .venv/bin/pip install --quiet --no-cache-dir -c constraints.txt ./*.whl; '
    "exec .venv/bin/parley serve"
)
"""Script that installs the wheel and runs it. $1: the Python."""
LONGEST_S, WARM_RUNS, MAX_WARM_S = 900, 5, 5.0


@contextmanager
def started(
    command: Sequence[str], folder: Path, settings: dict[str, str]
) -> Iterator[tuple[float, int, psutil.Process]]:
    """Seconds until the service listens, its port and its process; it is stopped after the block."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PORT": "0", **settings}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    watchdog = threading.Timer(LONGEST_S, process.kill)
    watchdog.start()
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if "listens on http://" in line:
                break
        else:
            raise SystemExit("The service did not start:\n" + "".join(said))
        seconds = time.perf_counter() - start
        # Keep reading, or the service would block on its own messages.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        port = int(line.split("listens on http://")[1].split()[0].rpartition(":")[2])
        yield seconds, port, psutil.Process(process.pid)
    finally:
        watchdog.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def warm(settings: dict[str, str]) -> list[float]:
    """Seconds of each start from an existing environment."""
    seconds = []
    for _ in range(WARM_RUNS):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(HOME / "main.py")]
            with started(command, Path(folder), settings) as (took, _, _):
                seconds.append(took)
    return seconds


def cold() -> tuple[float, float]:
    """Seconds of `make run` in a folder with only the committed files, and of the same command again."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(folder)
        with started(MAKE_RUN, Path(folder), AUTOMATIC) as (first, _, _):
            pass
        with started(MAKE_RUN, Path(folder), AUTOMATIC) as (second, _, _):
            pass
    return first, second


def unpack(folder: str) -> None:
    """Put the committed files into a folder."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=HOME, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)


def ask(port: int, times: int) -> None:
    """Ask a spoken question, and wait for each spoken answer."""
    question = (HOME / "audios" / "samples" / "what_is_two_plus_three.wav").read_bytes()
    with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as connection:
        for _ in range(times):
            connection.send(question)
            assert "transcription" in connection.recv(timeout=60)
            assert isinstance(connection.recv(timeout=60), bytes)


def used(service: psutil.Process) -> list[tuple[str, float, float]]:
    """Return kind, resident MB, and MB with shared pages split (PSS) of each process of the service."""
    rows = []
    for process in (service, *service.children(recursive=True)):
        now = process.memory_full_info()
        name = "service" if process == service else "worker"
        rows.append((name, now.rss / 1e6, now.pss / 1e6))
    return rows


def on_disk(folder: Path) -> float:
    """Return the MB of the files in a folder."""
    files = (path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(file.st_size for file in files) / 1e6


def pack(folder: str) -> None:
    """Put the wheel of the committed files into a folder, and the versions to install with it."""
    with tempfile.TemporaryDirectory() as source:
        unpack(source)
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source]
        subprocess.run(build, check=True)
        shutil.copy(Path(source) / "constraints.txt", folder)


def fresh(console: Console, name: str, command: Sequence[str], prepare: Callable[[str], None]) -> None:
    """Print what the command costs in a folder until the first answer. prepare: fills the folder."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        began = time.perf_counter()
        with started(command, Path(folder), AUTOMATIC) as (ready_s, port, service):
            ask(port, 1)
            answer_s = time.perf_counter() - began
            rows = used(service)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as health:
                engines = [engine["engine"] for engine in json.load(health)["engines"]]
        packages, models = (on_disk(Path(folder) / name) for name in (".venv", "models"))
    table = Table("what", "value", title=f"{name}: a fresh machine without a hub, until the first answer")
    table.add_row("engines", ", ".join(engines))
    table.add_row("listening after", f"{ready_s:.0f} s")
    table.add_row("first answer after", f"{answer_s:.0f} s")
    table.add_row("packages on the disk", f"{packages:.0f} MB")
    table.add_row("models on the disk", f"{models:.0f} MB")
    table.add_row(f"memory of {len(rows)} processes (PSS)", f"{sum(row[2] for row in rows):.0f} MB")
    console.print(table)


def version(python: str) -> str:
    """Return "Python 3.11.7" of an interpreter."""
    return subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()


def memory() -> list[tuple[str, float, float]]:
    """Return `used` of the embedded engines after three turns."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HOME / "main.py")]
        with started(command, Path(folder), EMBEDDED) as (_, port, service):
            ask(port, 3)
            return used(service)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="build a new .venv with `make run`, too")
    parser.add_argument("--fresh", nargs="*", metavar="PYTHON", help="only `make run` on a fresh machine without a hub")
    parser.add_argument("--wheel", nargs="*", metavar="PYTHON", help="only the wheel on a fresh machine without a hub")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if options.fresh is not None or options.wheel is not None:
        for python in options.fresh or ["python3"] if options.fresh is not None else ():
            fresh(console, f"make run, {version(python)}", (*MAKE_RUN, f"PYTHON={python}"), unpack)
        for python in options.wheel or ["python3"] if options.wheel is not None else ():
            command = ("sh", "-euc", INSTALL, "sh", python)
            fresh(console, f"parley serve, {version(python)}", command, pack)
        return 0
    starts = Table("start", "ready after s", title="Seconds until it listens")
    good = True
    for name, settings in (("warm, embedded engines", EMBEDDED), ("warm, auto without hub and Ollama", AUTOMATIC)):
        seconds = warm(settings)
        starts.add_row(
            name, f"{statistics.median(seconds):.1f} (of {WARM_RUNS}: {min(seconds):.1f} to {max(seconds):.1f})"
        )
        good = good and statistics.median(seconds) < MAX_WARM_S
    if options.cold:
        first, second = cold()
        starts.add_row("cold: make run, empty .venv", f"{first:.1f}")
        starts.add_row("make run again", f"{second:.1f}")
    console.print(starts)
    processes = Table("process", "resident MB", "PSS MB", title="Memory after three turns, embedded engines")
    rows = memory()
    for name, rss, pss in [*rows, ("all", sum(row[1] for row in rows), sum(row[2] for row in rows))]:
        processes.add_row(name, f"{rss:.0f}", f"{pss:.0f}")
    console.print(processes)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
