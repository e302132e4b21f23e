"""SIGTERM at random moments under load: turns cut, jobs lost, processes left behind, and time to exit.

    python -m bench.drain [--times 20] [--sessions 4]

Each time the service starts in the same folder, with a small Whisper. Half of the sessions are live and get long
replies, the other half send files; a job of some seconds is queued. SIGTERM comes at a random moment, up to 2.5 s
later. "Cut": a turn that had begun for its client (it received turn_started, or the text of a file's reply) and did not
end as a turn does. A last start then finishes the remaining jobs.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from websockets.exceptions import ConnectionClosed, WebSocketException

from bench.rows import Rows
from pipeline.settings import HOME
from tests.jobs.test_endpoints import HEARS, done, slow_recording
from tests.questions import sample
from tests.server_process import ServerProcess, environment, serving

ENDS = ("turn_completed", "turn_interrupted", "turn_failed")
EXIT_S = 60.0


@dataclass
class Seen:
    """Observations of one round's clients."""

    ended: int = 0
    cut: int = 0
    closes: Counter[str] = field(default_factory=Counter)


def live(server: ServerProcess, seen: Seen) -> None:
    """Send typed questions with long replies, until the service closes the conversation."""
    begun = False
    try:
        with server.connect("?stream=1&rate=16000&interruptible=false") as connection:
            connection.send(json.dumps({"type": "say", "text": "count to ten"}))
            while True:
                message = connection.recv(timeout=30)
                if isinstance(message, bytes):
                    continue
                kind = json.loads(message)["type"]
                if kind == "turn_started":
                    begun = True
                elif kind in ENDS:
                    seen.ended += kind == "turn_completed"
                    seen.cut += kind != "turn_completed"
                    begun = False
                    connection.send(json.dumps({"type": "say", "text": "count to ten"}))
    except ConnectionClosed as closed:
        seen.closes[str(closed.rcvd.code if closed.rcvd else None)] += 1
    except (OSError, TimeoutError, WebSocketException) as error:
        seen.closes[type(error).__name__] += 1
    seen.cut += begun


def whole(server: ServerProcess, seen: Seen) -> None:
    """Send files, one after the other. A file sent after the service began to stop may be refused with a close. A file
    whose text was received must get its sound, too.
    """
    half = False
    try:
        with server.connect("?language=en") as connection:
            while True:
                connection.send(sample("hello"))
                half = "transcription" in json.loads(connection.recv(timeout=30))
                assert isinstance(connection.recv(timeout=30), bytes)
                half = False
                seen.ended += 1
    except ConnectionClosed as closed:
        seen.closes[str(closed.rcvd.code if closed.rcvd else None)] += 1
    except (OSError, TimeoutError, WebSocketException, AssertionError) as error:
        seen.closes[type(error).__name__] += 1
    seen.cut += half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=4)
    options = parser.parse_args()
    chance = random.Random(0)
    rows = Rows("round", "after", "turns ended", "cut", "exit code", "seconds to exit", "left behind", "closes")
    totals: Counter[str] = Counter()
    exits: list[float] = []
    jobs: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.times):
            process = subprocess.Popen(
                [sys.executable, str(HOME / "main.py")], cwd=folder, env=environment(**HEARS),
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            server = ServerProcess(process=process)
            server.wait_until_ready()
            seen = Seen()
            threads = [
                threading.Thread(target=live if index % 2 else whole, args=(server, seen))
                for index in range(options.sessions)
            ]
            for thread in threads:
                thread.start()
            files = {"files": (f"{number}.flac", slow_recording(number))}
            answer = httpx.post(f"{server.url}/jobs", files=files, data={"language": "en"}, timeout=30)
            jobs += [job["job_id"] for job in answer.json()["jobs"]]
            after_s = chance.uniform(0.3, 2.5)
            time.sleep(after_s)
            children = server.children()
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait(EXIT_S)
            exits.append(time.monotonic() - began)
            for thread in threads:
                thread.join()
            _, left = psutil.wait_procs(children, timeout=5)
            totals += Counter(ended=seen.ended, cut=seen.cut, left=len(left), bad=int(code != 0))
            closes = ", ".join(f"{number} × {code}" for code, number in seen.closes.items())
            rows.add(
                str(number + 1), f"{after_s:.1f} s", str(seen.ended), str(seen.cut), str(code), f"{exits[-1]:.1f}",
                str(len(left)), closes,
            )  # fmt: skip
        with serving(folder, **HEARS) as server, httpx.Client(base_url=server.url, timeout=60) as client:
            states = Counter(done(client, job)["status"] for job in jobs)
    print(f"turns ended {totals['ended']}, cut {totals['cut']}; processes left behind {totals['left']}; exit codes "
          f"other than 0: {totals['bad']}; seconds to exit: {min(exits):.1f} to {max(exits):.1f}; "
          f"jobs: {len(jobs)} sent, {dict(states)}")  # fmt: skip


if __name__ == "__main__":
    main()
