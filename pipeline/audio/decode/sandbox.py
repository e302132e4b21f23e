"""Confinement of a decoding process: it can only read its file, compute within its limits, and send frames."""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
from collections.abc import Mapping

from pipeline.audio.decode.decoding import decoded
from pipeline.audio.decode.limits import bad_audio, too_long
from pipeline.audio.decode.links import Sought
from pipeline.audio.decode.wire import (
    BUSY,
    DONE,
    FAILED,
    MAX_BLOCK,
    MAX_TEXT_BYTES,
    SAMPLES,
    TOLD,
    Busy,
    Request,
    Told,
    frame,
)
from pipeline.errors import BadInput

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 38, 4
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
"""Values from linux/prctl.h and linux/sched.h."""
LIBC = ctypes.CDLL(None, use_errno=True)
BYTES_PER_S = 20e6
"""Minimum number of a file's bytes that are read in a second of CPU time."""
SLACK_S = 2.0
"""CPU seconds between the signal that ends a process and the one that cannot be caught."""


def leave_network() -> None:
    """Give up the network and all privileges permanently, where the system allows it. Linux only."""
    if not hasattr(LIBC, "unshare"):
        return
    if LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC):
        LIBC.unshare(_CLONE_NEWNET | _CLONE_NEWIPC)


def die_with_parent(parent: int) -> None:
    """End this process when its parent, `parent`, has ended."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def die_with_pipe(life: int) -> None:
    """End this process when the other end of the pipe is closed, even in a long C call: the kernel sends SIGIO."""
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:
        os._exit(0)


def confine(request: Request) -> None:
    """Limit this process for the rest of its life."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    most = _address_space() + request.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # Forbid new descriptors (files, sockets), writing to files, core dumps and new processes.
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


class Clock:
    """The limit on CPU time, which grows with the decoded sound."""

    def __init__(self, request: Request, size: int) -> None:
        """size: of the file, in bytes."""
        self._request = request
        self._begun_s = request.open_s + size / BYTES_PER_S
        most = int(self._begun_s + request.max_seconds * request.decode_s + SLACK_S) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
        self.decoded(0.0)

    def decoded(self, seconds: float) -> None:
        """Raise the limit: this many seconds of sound are decoded so far."""
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = int(self._begun_s + seconds * self._request.decode_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (min(soft, hard), hard))


class Held(Sought):
    """A file read through its descriptor, with a separate position."""

    def __init__(self, fd: int) -> None:
        super().__init__(os.fstat(fd).st_size)
        self._fd = fd

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data


class Coming:
    """A pipe that is still being written."""

    size = 0

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int) -> bytes:
        return os.read(self._fd, size)


def work(request: Request, file: int, out: int, life: int) -> None:
    """Decode one file within limits and send its frames. The caller ends the process afterwards."""
    die_with_pipe(life)
    source = Held(file) if request.seekable else Coming(file)
    sock = socket.socket(fileno=out)
    confine(request)
    clock = Clock(request, source.size)
    count, rate_hz = 0, 0
    try:
        for item in decoded(source, request):
            if isinstance(item, Busy):
                sock.sendall(frame(BUSY))
            elif isinstance(item, Told):
                rate_hz = item.rate_hz
                sock.sendall(frame(TOLD, _json({"duration_s": item.duration_s, "rate_hz": rate_hz})))
            else:
                count += len(item)
                if count > request.max_seconds * rate_hz:
                    raise too_long(request.max_seconds)
                clock.decoded(count / rate_hz)
                for start in range(0, len(item), MAX_BLOCK):
                    sock.sendall(frame(SAMPLES, item[start : start + MAX_BLOCK].astype("<f4").tobytes()))
    except BadInput as error:
        sock.sendall(frame(FAILED, _json({"code": error.code, "message": error.message, "param": error.param})))
    except MemoryError:
        failed = bad_audio()
        sock.sendall(frame(FAILED, _json({"code": failed.code, "message": failed.message})))
    else:
        sock.sendall(frame(DONE))


def _json(told: Mapping[str, object]) -> bytes:
    return json.dumps(told).encode()[:MAX_TEXT_BYTES]
