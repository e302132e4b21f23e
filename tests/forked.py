"""`python main.py` in a fork of a process that has imported it already, which saves two to three CPU seconds a start.

A fork is like a new process in its environment, folder, arguments, output, signals and exit code. Constants are changed
after the imports, in all modules that have imported them. Its workers and fronts are forks, too
(`tests.forked_workers`), as are the workers that tests start without a service.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import create_engine

import pipeline
from pipeline.audio import decode
from pipeline.settings import HOME
from tests import forked_workers, inside
from tests.children import CODE, MAX_REQUEST_BYTES, Children

MAIN = str(HOME / "main.py")
EARLY = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_", "GLIBC_", "OPENBLAS_", "OMP_")
"""Prefixes of variables that are read before or during the imports; if they differ, `start` runs a new interpreter."""
IMPORTED = (
    "uvicorn", "jobs.opening", "server.app", "pipeline.workers.child", "pipeline.stt.sphinx", "pocketsphinx",
    "pipeline.tts.espeak_engine", "pipeline.stt.whisper_engine", "faster_whisper", "pipeline.tts.kokoro_engine",
    "pipeline.llm.local_engine",
)  # fmt: skip
"""Modules of the service and of its workers, imported once."""
WITH_TORCH = {
    "xtts": ("pipeline.tts.xtts_compat:import_coqui", "TTS.tts.models.xtts", "pipeline.tts.xtts_engine"),
    "pocket": ("pocket_tts", "pipeline.tts.pocket_engine"),
}
"""Modules that take many seconds to import, and functions that import others, by the names of their workers: imported
before the first of these."""
OURS = ("pipeline", "server", "jobs", "commands")


class Forked:
    """A running fork, with the methods of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        """status: descriptor that its exit code is read from."""
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(MAIN, timeout or 0)
            self.returncode = CODE.unpack(os.read(self._status, CODE.size))[0]
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return its whole stdout and stderr when it has ended."""
        with ThreadPoolExecutor(2) as threads:
            texts = [threads.submit(pipe.read) if pipe else None for pipe in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            stdout, stderr = (text.result() if text else "" for text in texts)
        return stdout, stderr


Process = subprocess.Popen[str] | Forked


def start(
    *arguments: str,
    folder: Path,
    env: dict[str, str],
    within: str = "",
    stdout: bool = False,
    module: str = "",
) -> Process:
    """Start `main.py` in `folder`, with a pipe for its stderr. stdout: with one for its stdout, too.

    within: the pid of a process whose namespaces it enters (network, disks). module: run instead of `main.py`, like
    `python -m`.
    """
    if _warm().fits(env):
        asked = {"arguments": arguments, "folder": str(folder), "env": env, "within": within, "module": module}
        return _warm().fork(asked, stdout)
    program = ["-m", module] if module else [MAIN]
    if module:
        env = {**env, "PYTHONPATH": os.pathsep.join([env.get("PYTHONPATH", ""), str(HOME)])}
    return subprocess.Popen(
        [*(inside.command(within) if within else ()), sys.executable, *program, *arguments],
        cwd=folder, env=env, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout else None, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(
    *arguments: str, folder: Path, env: dict[str, str], timeout_s: float = 180, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `main.py` in `folder` until it ends. options: see `start`."""
    process = start(*arguments, folder=folder, env=env, stdout=True, **options)
    stdout, stderr = process.communicate(timeout=timeout_s)
    assert process.returncode is not None
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


class Warm:
    """The process that is forked, one for each process of pytest."""

    def __init__(self) -> None:
        from tests.server_process import environment

        self._env = {**environment(), "TEST_CONSTANTS": "{}"}
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=HOME,
                env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        atexit.register(self.end)

    def fits(self, env: dict[str, str]) -> bool:
        """Whether what a process with this environment reads before and during the imports is the same."""
        changed = {name for name in env.keys() | self._env.keys() if env.get(name) != self._env.get(name)}
        return hasattr(os, "pidfd_open") and not any(name.startswith(EARLY) for name in changed)

    def fork(self, asked: dict[str, Any], stdout: bool) -> Forked:
        """Request a fork with pipes for its output. asked: see `start`."""
        status, told = os.pipe()
        pipes = [os.pipe() if piped else None for piped in (stdout, True)]
        nothing = os.open(os.devnull, os.O_RDWR)
        fds = [nothing, *(pipe[1] if pipe else nothing for pipe in pipes), told]
        pid = self.ask(json.dumps(asked).encode(), fds)
        for fd in set(fds):
            os.close(fd)
        out, err = (os.fdopen(pipe[0]) if pipe else None for pipe in pipes)
        return Forked(pid, status, out, err)

    def ask(self, request: bytes, fds: Sequence[int]) -> int:
        """Request a fork that gets these descriptors; return its pid."""
        with self._lock:
            socket.send_fds(self._control, [request], fds)
            return int(self._control.recv(32))

    def end(self) -> None:
        self._control.close()
        self.process.wait()


_warm = functools.cache(Warm)


def fork_workers() -> None:
    """Let the tests' own process start its workers of models by forks."""
    if hasattr(os, "pidfd_open"):
        forked_workers.start_by(lambda request, fds: _warm().ask(request, fds))


def main() -> None:
    """Fork for each request, and report the exit codes. A fork returns from here, too."""
    control = socket.socket(fileno=int(sys.argv[1]))
    from commands.serve import MAX_LINE_BYTES

    os.environ["WEBSOCKETS_MAX_LINE_LENGTH"] = str(MAX_LINE_BYTES)  # as `serve` sets it before it imports websockets
    for module in IMPORTED:
        importlib.import_module(module)
    forked_workers.load()
    _do_once()
    assert threading.active_count() == 1, "a fork has no other thread"
    gc.collect()
    gc.freeze()  # keeps the memory pages of these objects shared with the forks
    children = Children(control)
    while True:
        children.report_until_request()
        data, fds, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 4)
        if not data:
            return
        request = json.loads(data)
        for_service = "within" in request
        if not for_service:
            _import_torch_for(request["arguments"][0])
        pid = os.fork()
        if pid == 0:
            if not for_service:
                control.close()
                forked_workers.run(request, fds, children.descriptors)
            control.detach()  # `_become` closes its descriptor, whose number another file then has
            _become(request, fds)
            return
        control.send(str(pid).encode())
        for fd in fds[:-1]:
            os.close(fd)
        children.add(pid, fds[-1])


def _do_once() -> None:
    """Do what each service does again: compile the patterns of the embedded responder, unpack the detector of
    languages, and load the migrations of the database."""
    from jobs.database import migrate
    from pipeline.llm.builtin.responder import BuiltinResponder
    from pipeline.speech import detector

    BuiltinResponder(clock=datetime.now)
    detector.load()
    with create_engine("sqlite://").connect() as connection:
        migrate(connection)


def _import_torch_for(worker: str) -> None:
    with contextlib.suppress(ImportError):  # the worker reports it
        for place in WITH_TORCH.get(worker, ()):
            name, _, function = place.partition(":")
            module = importlib.import_module(name)
            if function:
                getattr(module, function)()


def _become(request: dict[str, Any], fds: Sequence[int]) -> None:
    for standard, fd in enumerate(fds[:3]):
        os.dup2(fd, standard)
    os.closerange(3, 1024)
    if request["within"]:
        inside.enter(request["within"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    importlib.reload(pipeline)  # sets variables, as the first import does
    forked_workers.install(_adapt)  # before the constants change: workers do not inherit TEST_CONSTANTS
    _adapt()
    sys.argv[:] = [MAIN, *request["arguments"]]
    sys.path[0] = str(HOME)
    if request["module"]:
        runpy.run_module(request["module"], run_name="__main__")
    else:
        runpy.run_path(MAIN, run_name="__main__")


def _adapt() -> None:
    """Change what the tests change in a process of the service."""
    vars(decode)["warm_up"] = _nothing  # the first file that is not a plain WAV starts the decoder, as after its loss
    _change(json.loads(os.environ.get("TEST_CONSTANTS", "{}")))


def _nothing() -> None:
    """Replacement for `decode.warm_up`, whose process takes a third of a second to start."""


def _change(constants: dict[str, object]) -> None:
    """Change constants ("module:NAME" or "module:NAME.field") in their module and where they were imported from it."""
    for place, value in constants.items():
        name, _, constant = place.partition(":")
        module = importlib.import_module(name)
        owner, _, field = constant.rpartition(".")
        if owner:
            object.__setattr__(getattr(module, owner), field, value)  # a frozen dataclass, too
            continue
        old = getattr(module, constant)
        for other in [module, *(found for name, found in sys.modules.items() if name.partition(".")[0] in OURS)]:
            if vars(other).get(constant) is old:
                setattr(other, constant, value)


if __name__ == "__main__":
    main()
