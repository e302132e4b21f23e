"""Hours of mixed use, some of it rude: whether the service's resources stay constant.

    python -m bench.soak [--minutes 60] [--people 6]

Embedded engines, with a small Whisper. Each person does random things, one after the other: a live conversation that is
completed, interrupted, or left in the middle of a word; files over /ws; an upload to /asr, complete or aborted; a job,
awaited or cancelled; speech that is read to its end or not; an invalid message. Every 15 s these are measured: memory
of the service and of its models, open files, threads, child processes, asyncio tasks. At the end all pause for
20 s, and the values are compared with those after the first minute, also at rest.
"""

import argparse
import json
import logging
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
from websockets.exceptions import WebSocketException

from bench.rows import Rows
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS
from tests.questions import sample, spoken
from tests.server_process import ServerProcess, serving

LOOK_S = 15.0
WARM_S = 60.0
REST_S = 20.0
ENDS = ("turn_completed", "turn_interrupted", "turn_failed")


@dataclass(frozen=True, slots=True)
class Look:
    """Measurements of the service at one moment."""

    at_s: float
    memory_mb: float
    models_mb: float
    files: int
    threads: int
    children: int
    tasks: int


def look(server: ServerProcess, began: float) -> Look:
    process = psutil.Process(server.process.pid)
    children = process.children(recursive=True)
    told = httpx.get(f"{server.url}/metrics", timeout=30).text
    tasks = next(float(line.split()[1]) for line in told.splitlines() if line.startswith("parley_tasks "))
    return Look(
        time.monotonic() - began, process.memory_info().rss / 2**20,
        sum(child.memory_info().rss for child in children) / 2**20, process.num_fds(), process.num_threads(),
        len(children), int(tasks),
    )  # fmt: skip


class Person:
    """Does random things until it is stopped."""

    def __init__(self, server: ServerProcess, seed: int, did: Counter[str]) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._did = did

    def run(self, stop: threading.Event) -> None:
        things: list[Callable[[], str]] = [
            self._talk, self._talk, self._files, self._leave, self._asr, self._broken_upload, self._job, self._speech,
            self._nonsense,
        ]  # fmt: skip
        while not stop.is_set():
            thing = self._chance.choice(things)
            name = thing.__name__.strip("_")
            try:
                self._did[f"{name}: {thing()}"] += 1
            except (OSError, TimeoutError, WebSocketException, httpx.HTTPError) as error:
                self._did[f"{name}: {type(error).__name__}"] += 1

    def _talk(self) -> str:
        end = ""
        with self._server.connect("?stream=1&rate=16000") as connection:
            for _ in range(self._chance.randint(1, 3)):
                if self._chance.random() < 0.5:
                    pcm = spoken("what is two plus three").pcm16() + bytes(2 * 24_000)
                    for start in range(0, len(pcm), 1280):
                        connection.send(pcm[start : start + 1280])
                else:
                    connection.send(json.dumps({"type": "say", "text": "count to ten"}))
                interrupt = self._chance.random() < 0.3
                while True:
                    message = connection.recv(timeout=60)
                    if isinstance(message, bytes):
                        if interrupt:
                            connection.send(json.dumps({"type": "interrupt"}))
                            interrupt = False
                        continue
                    end = json.loads(message)["type"]
                    if end in (*ENDS, "utterance_ignored"):
                        break
        return end

    def _files(self) -> str:
        with self._server.connect("?language=en") as connection:
            connection.send(sample("hello"))
            told = json.loads(connection.recv(timeout=60))
            if "error" not in told:
                connection.recv(timeout=60)
        return str(told.get("error", {}).get("code", "answered"))

    def _leave(self) -> str:
        """Leave without a close frame, during a reply, by closing the socket beneath the protocol."""
        with self._server.connect("?stream=1&rate=16000") as connection:
            connection.send(json.dumps({"type": "say", "text": "count to ten"}))
            for _ in range(self._chance.randint(1, 12)):
                connection.recv(timeout=60)
            connection.socket.shutdown(socket.SHUT_RDWR)
        return "gone"

    def _asr(self) -> str:
        files = {"audio_file": ("a.wav", recording(self._chance.randrange(12)))}
        return str(httpx.post(f"{self._server.url}/asr?language=en", files=files, timeout=60).status_code)

    def _broken_upload(self) -> str:
        with socket.create_connection(("127.0.0.1", self._server.port), timeout=30) as raw:
            head = "POST /asr HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            body = '--b\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n'
            raw.sendall(f"{head}Content-Length: 1000000\r\n\r\n{body}".encode() + bytes(100_000))
        return "aborted"

    def _job(self) -> str:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            files = {"files": (f"{self._chance.random()}.wav", recording(*self._chance.sample(range(12), 3)))}
            job_id = client.post("/jobs", files=files, data={"language": "en"}).json()["jobs"][0]["job_id"]
            if self._chance.random() < 0.3:
                client.post(f"/jobs/{job_id}/cancel")
            while (state := client.get(f"/jobs/{job_id}").json()["status"]) in ("queued", "processing", "running"):
                time.sleep(0.3)
            client.delete(f"/jobs/{job_id}")
        return str(state)

    def _speech(self) -> str:
        wanted = {"model": "tts-1", "voice": "man", "input": "The heron stands quite still. " * 20}
        most = self._chance.choice((10_000, 10_000_000))
        got = 0
        with httpx.stream("POST", f"{self._server.url}/v1/audio/speech", json=wanted, timeout=60) as answer:
            for chunk in answer.iter_bytes():
                got += len(chunk)
                if got > most:
                    return "enough"
        return str(answer.status_code)

    def _nonsense(self) -> str:
        with self._server.connect("?stream=1") as connection:
            connection.send(self._chance.choice(["{", '{"type": "fly"}', "[]", '{"type": "configure", "options": 5}']))
            connection.send(bytes(self._chance.randrange(1, 5000)))
            with suppress(TimeoutError):
                while json.loads(connection.recv(timeout=5))["type"] != "error":
                    pass
        return "told"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--people", type=int, default=6)
    options = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # errors of our own clients, when they are rude
    did: Counter[str] = Counter()
    rows = Rows("minute", "memory MB", "models MB", "files", "threads", "children", "tasks")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **HEARS) as server:
        began = time.monotonic()

        def people(seconds: float) -> list[Look]:
            stop, looks = threading.Event(), list[Look]()
            threads = [
                threading.Thread(target=Person(server, number, did).run, args=(stop,))
                for number in range(options.people)
            ]
            for thread in threads:
                thread.start()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(LOOK_S)
                looks.append(look(server, began))
                show(looks[-1])
            stop.set()
            for thread in threads:
                thread.join()
            time.sleep(REST_S)
            return looks

        def show(one: Look, name: str = "") -> None:
            rows.add(
                name or f"{one.at_s / 60:.1f}", f"{one.memory_mb:.0f}", f"{one.models_mb:.0f}", str(one.files),
                str(one.threads), str(one.children), str(one.tasks),
            )  # fmt: skip

        people(WARM_S)
        show(first := look(server, began), "at rest")
        looks = people(options.minutes * 60)
        show(look(server, began), "at rest")
        half = looks[len(looks) // 2 :]
        slope = np.polyfit([one.at_s for one in half], [one.memory_mb for one in half], 1)[0] * 3600
        print(f"memory over the second half: {slope:+.1f} MB an hour (first at rest: {first.memory_mb:.0f} MB)")
    for name, number in sorted(did.items()):
        print(f"  {number:5}  {name}")


if __name__ == "__main__":
    main()
