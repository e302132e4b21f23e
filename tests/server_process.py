"""The service as users run it: `main.py` in a separate process on a free port."""

import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import soundfile
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline.audio.clip import Clip, encode_wav
from pipeline.settings import HOME
from tests import forked
from tests.forked_workers import NAMED
from tests.waiting import left_of, pause_s

T = TypeVar("T")
READY_S = 180.0
"""Generous, like the other limits, because the machine can be busy."""
TURN_S = 180.0
END_S = 60.0
PATIENT = dict.fromkeys(("pipeline.stt:TIMEOUT_S", "pipeline.tts:TIMEOUT_S", "pipeline.workers:MAX_WAIT_S"), 300.0)
"""Constants with which a slow model on a busy machine does not count as one that hangs."""
CONSTANTS: dict[str, Any] = {
    "pipeline.stt.whisper:PACK": False, "pipeline.workers:NICENESS": 0, "server.http.shutdown:FAREWELL_S": 10,
    "server.http.websocket_session:GOODBYE_S": 4.0, **PATIENT,
}  # fmt: skip
"""Constants of the services that tests start. PACK is off because the small Whisper of the tests was trained on one
utterance at a time. NICENESS is 0 because niced workers would starve on a shared machine. On such a machine a
connection may also need longer than a second to say why it ends."""
EMBEDDED = {
    "STT_ENGINE": "sphinx",
    "LLM_ENGINE": "builtin",
    "TTS_ENGINE": "espeak",
    "HF_HUB_OFFLINE": "true",
    "MODEL_SOURCES": "hub",
}
"""Engines that run anywhere, with the same result each time."""

NO_CERTIFICATES = str(HOME / "tests" / "constants")
"""A folder without certificates, as SSL_CERT_DIR."""


def constants(changed: dict[str, Any], *, by_default: bool = True) -> dict[str, str]:
    """Return settings for `serving` and its like that change constants ("module:NAME") of the service. by_default:
    whether all of CONSTANTS also apply, and not only PATIENT."""
    chosen = {**(CONSTANTS if by_default else PATIENT), **changed}
    return {"TEST_CONSTANTS": json.dumps(chosen), "PYTHONPATH": str(HOME / "tests" / "constants")}


def environment(**settings: str) -> dict[str, str]:
    """Return the environment for a service process: these settings and the embedded engines.

    Takes from the environment of the tests only what the machine needs (OPENBLAS_*: numpy's kernels on a processor that
    OpenBLAS does not recognise).
    """
    needed = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name in needed or name.startswith("OPENBLAS_")}
    ours = {"PORT": "0", "COLUMNS": "200", "SSL_CERT_DIR": NO_CERTIFICATES}
    return {**kept, **ours, **EMBEDDED, **constants({}), **settings}


@dataclass
class Service:
    """A running service as its clients see it."""

    output: list[str] = field(default_factory=list)
    """Lines of its log so far, or of its stderr."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        return "".join(self.output)

    def connect(self, query: str = "", **options: Any) -> ClientConnection:
        """Open a conversation."""
        return connect(f"ws://127.0.0.1:{self.port}/ws{query}", max_size=None, open_timeout=TURN_S, **options)


@dataclass
class ServerProcess(Service):
    """A service in its own process."""

    process: forked.Process = field(kw_only=True)
    started_s: float = 0.0
    """Seconds from its start until it was ready."""
    _accepts: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Event = field(default_factory=threading.Event)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes of its local models."""
        return workers_of(self.process.pid)

    def worker(self, model: str) -> psutil.Process:
        """Return the worker process of this model."""
        return next(one for one in self.workers() if one.name() == f"{NAMED}{model}" or model in one.cmdline())

    def children(self) -> list[psutil.Process]:
        """Return all its descendants: the workers of models and the processes that decode."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def busy_s(self) -> float:
        """Return the CPU seconds that its models have used so far, which do not depend on the load of the machine."""
        return busy_s(self.process.pid)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.output.append(line)
            if found := re.search(r"(Starting:|listens on) http://[^ ]*:(\d+) ", line):
                self.port = int(found[2])
                self._accepts.set()
                if found[1] != "Starting:":
                    self._ready.set()
        self._accepts.set()
        self._ready.set()

    def wait_until_accepts(self) -> None:
        """Wait until it accepts connections, perhaps while it loads its models."""
        assert self._accepts.wait(READY_S), f"accepts no connections after {READY_S:g} s: {self.text}"
        assert self.port, f"ended instead of listening: {self.text}"

    def wait_until_ready(self) -> None:
        assert self._ready.wait(READY_S), f"not ready after {READY_S:g} s: {self.text}"
        assert "listens on" in self.text, f"ended instead of listening: {self.text}"
        self.started_s = time.monotonic() - self._began

    def end(self) -> None:
        """Send one SIGTERM; check that it exits cleanly, without orphaned processes or unhandled errors."""
        workers: list[psutil.Process] = []
        if self.process.poll() is None:
            workers = self.children()
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(END_S) == 0, self.text
        left = left_of(workers, END_S)
        assert not left, f"left behind: {left}"
        assert "Traceback" not in self.text, self.text
        assert "never retrieved" not in self.text
        assert "never awaited" not in self.text


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of models among the descendants of this process."""
    found = psutil.Process(pid).children(recursive=True)
    return [one for one in found if one.name().startswith(NAMED) or "pipeline.workers.child" in command_of(one)]


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; [] if it has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def busy_s(pid: int) -> float:
    """Return the CPU seconds that the descendants of this process have used so far."""
    return sum(one.cpu_times().user for one in psutil.Process(pid).children(recursive=True))


@contextmanager
def starting(folder: Path, *, within: str = "", **settings: str) -> Iterator[ServerProcess]:
    """Run a service with these settings from `folder`: it accepts connections when the block begins, and is killed
    (SIGKILL) at its end.

    within: the pid of a process whose namespaces the service enters (network, disks).
    """
    process = forked.start(folder=folder, env=environment(**settings), within=within)
    server = ServerProcess(process=process)
    try:
        server.wait_until_accepts()
        yield server
    finally:
        workers = server.children() if process.poll() is None else []
        process.kill()
        process.wait()
        left = left_of(workers, END_S)
        for worker in left:
            worker.kill()
        assert not left, f"left behind: {left}"


@contextmanager
def killed(folder: Path, *, within: str = "", **settings: str) -> Iterator[ServerProcess]:
    """Run a service as `starting` does, but ready when the block begins."""
    with starting(folder, within=within, **settings) as server:
        server.wait_until_ready()
        yield server


@contextmanager
def serving(folder: Path, *, within: str = "", **settings: str) -> Iterator[ServerProcess]:
    """Run a service as `killed` does, but stop it with SIGTERM and check that it exits cleanly."""
    with killed(folder, within=within, **settings) as server:
        yield server
        server.end()


def let_in(come: Callable[[], T], within_s: float = END_S) -> T:
    """Retry `come` until a slot is free: the slot of a closed connection is freed a moment after the close."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return come()
        except InvalidStatus as refused:
            if refused.response.status_code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(pause_s(deadline - within_s))


@dataclass(frozen=True, slots=True)
class Answer:
    """One turn as the client sees it."""

    transcription: str
    llama: str
    speech: Clip


def receive(connection: ClientConnection) -> Any:
    """Return the next message: the object of a JSON text, or the bytes of a binary message."""
    message = connection.recv(timeout=TURN_S)
    return message if isinstance(message, bytes) else json.loads(message)


def wav(data: bytes) -> Clip:
    """Decode a WAV; fail if it is not a mono 16-bit WAV that a player can read."""
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    info = soundfile.info(io.BytesIO(data))
    assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
    assert len(data) == 44 + 2 * len(samples)
    return Clip(samples, rate_hz)


def ask(connection: ClientConnection, question: bytes | Clip) -> Answer:
    """Run one turn; check that the response is one JSON text of exactly two fields, then one WAV, as documented."""
    connection.send(encode_wav(question) if isinstance(question, Clip) else question)
    told = receive(connection)
    assert isinstance(told, dict)
    assert set(told) == {"transcription", "llama"}, told
    speech = receive(connection)
    assert isinstance(speech, bytes), speech
    clip = wav(speech)
    assert clip.seconds > 0.3
    assert float(np.sqrt(np.mean(clip.samples**2))) > 0.01
    return Answer(told["transcription"], told["llama"], clip)


def refused(connection: ClientConnection, message: bytes | str) -> str:
    """Send an invalid message; return the code of the error that follows."""
    connection.send(message)
    return error_code(receive(connection))


def error_code(told: Any) -> str:
    """Check that an error has the documented form; return its code."""
    assert isinstance(told, dict), told
    assert set(told) == {"error"}, told
    assert set(told["error"]) >= {"code", "message"}
    assert len(str(told["error"]["message"]).splitlines()) == 1
    return str(told["error"]["code"])
