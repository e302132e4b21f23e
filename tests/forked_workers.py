"""Workers of models, and the fronts of a service with several, as forks of a process that has imported their libraries
and loaded PocketSphinx, which saves one or two CPU seconds a start.

The process is a child of the service, forked before the service has threads, so that its forks are still among the
service's descendants; the workers of the tests' own process are forks of `tests.forked.Warm`.
`pipeline.workers.process` and `server.fronts.main_process` start them as they start processes, and have the same
handle.
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
from typing import Any, NoReturn

from prometheus_client import REGISTRY, values
from prometheus_client.metrics import MetricWrapperBase

from commands import front
from pipeline.llm.builtin import grammar
from pipeline.stt.sphinx import SphinxConfig
from pipeline.workers import EngineSpec, child, process, run_calls
from server.fronts import main_process
from tests.children import CODE, MAX_REQUEST_BYTES, Children

NAMED = "w:"
"""Beginning of the name under which a worker is listed; the rest is that of its model."""
FRONT = "front"
"""Name under which a front is listed."""
PR_SET_NAME = 15
SPHINX = EngineSpec("sphinx", "pipeline.stt.sphinx:SphinxEngine", SphinxConfig(grammar()))
Ask = Callable[[bytes, Sequence[int]], int]
"""Sends a request with these descriptors to the process that is forked; returns the fork's pid."""
_loaded: list[tuple[EngineSpec, object]] = []
"""Engines that the forks find loaded."""


class Fork:
    """A running fork, with the members of `asyncio.subprocess.Process` that are used."""

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

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self.returncode


def load() -> None:
    """Load the engine that most services use."""
    _loaded.append((SPHINX, run_calls.build(SPHINX)))


def _build(spec: EngineSpec) -> object:
    return next((engine for known, engine in _loaded if known == spec), None) or run_calls.build(spec)


def install(adapt: Callable[[], None]) -> None:
    """Let this process start its workers and fronts by forks. It must have one thread. adapt: called first in a front,
    as in the service itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        _serve(theirs, adapt)
    theirs.close()

    def ask(request: bytes, fds: Sequence[int]) -> int:
        socket.send_fds(ours, [request], fds)
        return int(ours.recv(32))

    start_by(ask)
    vars(main_process)["asyncio"] = _starting(ask)


def start_by(ask: Ask) -> None:
    """Let this process start its workers by asking for forks."""
    vars(process)["asyncio"] = _starting(ask)


def _starting(ask: Ask) -> SimpleNamespace:
    """Return `asyncio`, except that it asks for a fork in place of a process that runs a module."""

    async def start(*command: str, pass_fds: Sequence[int], env: dict[str, str], **_: object) -> Fork:
        module, arguments = command[2], command[3 + len(pass_fds) :]
        status, told = os.pipe()
        try:
            request = {"module": module, "arguments": arguments, "env": env, "folder": os.getcwd()}
            return Fork(ask(json.dumps(request).encode(), [*pass_fds, told]), status)
        finally:
            os.close(told)

    return SimpleNamespace(**{**vars(asyncio), "create_subprocess_exec": start})


def _serve(control: socket.socket, adapt: Callable[[], None]) -> NoReturn:
    """Fork for each request, and report the exit codes, until the service has ended."""
    children = Children(control)
    while True:
        children.report_until_request()
        try:
            data, fds, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 3)
            if not data:
                os._exit(0)
            pid = os.fork()
            if pid:
                control.send(str(pid).encode())
        except OSError:  # the service was killed
            os._exit(0)
        if pid == 0:
            control.close()
            run(json.loads(data), fds, children.descriptors, adapt)
        for fd in fds[:-1]:
            os.close(fd)
        children.add(pid, fds[-1])


def run(
    request: dict[str, Any], fds: Sequence[int], others: Sequence[int], adapt: Callable[[], None] | None = None
) -> NoReturn:
    """Be the worker or the front of a request. fds: those of the request; the last one is for the exit code.

    others: further descriptors of the process that was forked. adapt: see `install`.
    """
    for fd in (fds[-1], *others):
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[:] = [request["module"], *map(str, fds[:-1]), *request["arguments"]]
    if request["module"] == main_process.FRONT:
        assert adapt is not None
        _name(FRONT)
        os.setsid()
        adapt()
        _count_with_other_fronts()
        front.main()
        sys.exit()
    _name(f"{NAMED}{request['arguments'][0]}")
    vars(child)["build"] = _build
    try:
        child.main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _name(name: str) -> None:
    """Set the name under which this process is listed."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name[:15].encode(), 0, 0, 0)


def _count_with_other_fronts() -> None:
    """Let the metrics count in PROMETHEUS_MULTIPROC_DIR, which prometheus_client looks up before it creates them."""
    vars(values)["ValueClass"] = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    for metric in set(REGISTRY._collector_to_names):
        if isinstance(metric, MetricWrapperBase):
            for one in (metric, *getattr(metric, "_metrics", {}).values()):
                if one._is_observable():
                    one._metric_init()
