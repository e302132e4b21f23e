"""Workers of models as forks of a process that has imported their libraries and loaded PocketSphinx, which saves one or
two CPU seconds a start.

The process is a child of the service, forked before the service has threads, so that the workers are still among the
service's descendants; the workers of the tests' own process are forks of `tests.forked.Warm`.
`pipeline.workers.process` starts them as it starts processes, and has the same handle.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NoReturn

from pipeline.llm.builtin import grammar
from pipeline.stt.sphinx import SphinxConfig
from pipeline.workers import EngineSpec, child, process, run_calls
from tests.children import CODE, MAX_REQUEST_BYTES, Children

NAMED = "w:"
"""Beginning of the name under which a worker is listed; the rest is that of its model."""
PR_SET_NAME = 15
SPHINX = EngineSpec("sphinx", "pipeline.stt.sphinx:SphinxEngine", SphinxConfig(grammar()))
Ask = Callable[[bytes, Sequence[int]], int]
"""Sends a request with these descriptors to the process that is forked; returns the fork's pid."""
_loaded: list[tuple[EngineSpec, object]] = []
"""Engines that the forks find loaded."""


class Worker:
    """A running worker, with the members of `asyncio.subprocess.Process` that are used."""

    def __init__(self, pid: int, status: int) -> None:
        """status: descriptor that its exit code is read from."""
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._status = status
        asyncio.get_running_loop().add_reader(status, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._status)
        data = os.read(self._status, CODE.size)
        os.close(self._status)
        self.returncode = CODE.unpack(data)[0] if data else -signal.SIGKILL
        self._ended.set()

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self.returncode


def load() -> None:
    """Load the engine that most services use."""
    _loaded.append((SPHINX, run_calls.build(SPHINX)))


def _build(spec: EngineSpec) -> object:
    return next((engine for known, engine in _loaded if known == spec), None) or run_calls.build(spec)


def install() -> None:
    """Let this process start its workers by forks. It must have one thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        _serve(theirs)
    theirs.close()

    def ask(request: bytes, fds: Sequence[int]) -> int:
        socket.send_fds(ours, [request], fds)
        return int(ours.recv(32))

    start_by(ask)


def start_by(ask: Ask) -> None:
    """Let this process start its workers by asking for forks."""

    async def start(*command: str, pass_fds: Sequence[int], stdin: int, env: dict[str, str]) -> Worker:
        *_, name, niceness = command
        status, told = os.pipe()
        try:
            request = json.dumps({"name": name, "niceness": niceness, "env": env, "folder": os.getcwd()}).encode()
            return Worker(ask(request, [*pass_fds, told]), status)
        finally:
            os.close(told)

    names = {**vars(asyncio), "create_subprocess_exec": start}
    vars(process)["asyncio"] = SimpleNamespace(**names)


def _serve(control: socket.socket) -> None:
    """Fork for each request, and report the exit codes, until the service has ended."""
    children = Children(control)
    while True:
        children.report_until_request()
        try:
            data, fds, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 2)
            if not data:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                control.close()
                work(json.loads(data), fds[0], [*fds[1:], *children.descriptors])
            control.send(str(pid).encode())
        except OSError:  # the service was killed
            os._exit(0)
        os.close(fds[0])
        children.add(pid, fds[1])


def work(request: dict[str, str], sock: int, others: Sequence[int]) -> NoReturn:
    """Be the worker of a request. others: descriptors of the process that was forked."""
    for fd in others:
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[arg-type]
    ctypes.CDLL(None).prctl(PR_SET_NAME, f"{NAMED}{request['name']}"[:15].encode(), 0, 0, 0)
    vars(child)["build"] = _build
    sys.argv[:] = ["child", str(sock), request["name"], request["niceness"]]
    try:
        child.main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
