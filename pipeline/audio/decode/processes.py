"""Decoding processes, from their callers' side: one for each file, forked from the zygote, ended by `Call.stop`.

No thread waits for a process without a deadline, and none waits after `stop`: it closes the pipe that both sides hold,
whereupon the kernel ends the process, and shuts the socket between them down.
"""

import asyncio
import atexit
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.audio.decode.links import SeekableSource
from pipeline.audio.decode.slots import Slots
from pipeline.audio.decode.wire import Done, Frame, Frames, Misbehaved, Request
from pipeline.errors import BadInput, Overloaded
from pipeline.folders import HOME
from pipeline.support.environment import clean_environment
from pipeline.support.threads import CORES

SILENCE_S = 60.0
"""A process that has not sent anything for this long is ended. Its limit of CPU time ends it earlier, unless the
machine is very busy."""
WAIT_S = 30.0
"""A file that has no slot after this many seconds is refused."""
RECEIVE_BYTES = 2**18
COPY_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Lane:
    """Files of one kind, with their limits. The files of one lane do not wait for those of another."""

    slots: Slots
    open_s: float
    """CPU seconds until the first sample. A valid header takes some milliseconds, the index of a film half a second."""
    decode_s: float
    """CPU seconds for each second of sound: the slowest codecs take 0.02 on a slow core."""
    memory_bytes: int
    """Address space in addition to what a process begins with."""
    silence_s: float | None = SILENCE_S
    """See SILENCE_S; None: the file can arrive as slowly as its client sends it."""

    def request(
        self, max_seconds: float, *, rate_hz: int | None = None, track: int | None = None, seekable: bool = True
    ) -> Request:
        """Return the limits for one file."""
        return Request(
            max_seconds, rate_hz, track, seekable, self.open_s, self.decode_s, self.memory_bytes
        )  # fmt: skip


TURNS = Lane(Slots(32, most_of_one=min(16, max(1, CORES // 2))), 1.0, 0.1, 192 * 2**20)
"""Utterances of users who wait for a reply, and reference recordings. One account has at most half of the cores."""
FILES = Lane(Slots(8), 5.0, 0.2, 512 * 2**20)
"""Uploads and jobs."""
GROWING = Lane(Slots(32), 2.0, 0.2, 192 * 2**20, None)
"""Uploads that are transcribed while they are received."""


class Stopped(Exception):
    """The caller stopped the call."""


class Stopping:
    """Ends whatever a thread currently waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None
        self.stopped = False

    def stop(self) -> None:
        """End the current wait. Callable from any thread, any number of times."""
        with self._lock:
            self.stopped = True
            end = self._end
        if end is not None:
            end()

    def ends(self, end: Callable[[], object]) -> None:
        """Set the callback that ends the next wait; call it now if `stop` was called already."""
        with self._lock:
            self._end = end
        if self.stopped:
            end()


class _Zygote:
    """The process that decoding processes are forked from. It starts on first use, and again after it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel ends the process with the thread that started it (`sandbox.die_with_parent`).
        self._thread = ThreadPoolExecutor(1, "zygote")

    def send(self, data: bytes, fds: list[int]) -> None:
        """Have a process forked. Blocks for some milliseconds when the zygote has to be started."""
        with self._lock:
            for again in (True, False):
                if self._control is None:
                    self._start()
                assert self._control is not None  # noqa: S101  # started just now
                try:
                    socket.send_fds(self._control, [data], fds)
                    return
                except OSError:
                    self._end()
                    if not again:
                        raise

    def end(self) -> None:
        """End the zygote and all processes forked from it."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = self._thread.submit(
                subprocess.Popen,
                [sys.executable, "-m", "pipeline.audio.decode.zygote", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env=clean_environment(
                    PYTHONPATH=os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")]),
                    PYTHONDONTWRITEBYTECODE="1", LC_ALL="C.UTF-8", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1",
                ),
            ).result()  # fmt: skip
        self._control = ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


_zygote = _Zygote()
atexit.register(_zygote.end)


def warm_up() -> None:
    """Start the zygote, so that the first file does not wait for it. Blocking."""
    call = Call(TURNS.request(1.0), _memory(b"no audio"))
    try:
        with contextlib.suppress(BadInput, Stopped):
            for _ in call.frames(SILENCE_S):
                pass
    finally:
        call.close()


class Call:
    """The decoding of one file in a separate process."""

    def __init__(self, request: Request, file: int) -> None:
        """file: a descriptor of the file, which is closed here."""
        self._sock, theirs = socket.socketpair()
        life, self._life = os.pipe()
        self._lock = threading.Lock()
        self._stopped = False
        try:
            _zygote.send(request.packed(), [file, theirs.fileno(), life])
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(life)
            os.close(file)

    def stop(self) -> None:
        """End the process at once. Callable from any thread, any number of times."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            os.close(self._life)
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and close the socket. Call it when no thread reads from it."""
        self.stop()
        self._sock.close()

    def frames(self, silence_s: float | None) -> Iterator[Frame]:
        """Yield the frames that the process sends, without the last one. Blocking. silence_s: see `Lane`.

        Raises BadInput, and Stopped after `stop`.
        """
        frames = Frames()
        self._sock.settimeout(silence_s)
        while True:
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except TimeoutError:
                raise _silent() from None
            except OSError:
                data = b""
            for frame in self._parsed(frames, data):
                if isinstance(frame, Done):
                    return
                yield frame

    async def frames_async(self, silence_s: float) -> AsyncGenerator[Frame, None]:
        """Do the same on an event loop."""
        loop, frames = asyncio.get_running_loop(), Frames()
        self._sock.setblocking(False)
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    data = await loop.sock_recv(self._sock, RECEIVE_BYTES)
            except TimeoutError:
                raise _silent() from None
            except OSError:
                data = b""
            for frame in self._parsed(frames, data):
                if isinstance(frame, Done):
                    return
                yield frame

    def _parsed(self, frames: Frames, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete; no bytes mean that the process has ended. Raises BadInput,
        Stopped."""
        if not data:
            raise Stopped() if self._stopped else BadInput(
                "This file could not be decoded: its decoder failed, or passed its limits.", code="bad_audio"
            )  # fmt: skip
        try:
            yield from frames.feed(data)
        except Misbehaved:
            raise BadInput("This is not audio that can be decoded.", code="bad_audio") from None


def _silent() -> BadInput:
    return BadInput("Decoding this file takes too long.", code="bad_audio")


def called(
    lane: Lane, request: Request, file: int, size: int, stopping: Stopping, account: str
) -> Generator[Frame, None, None]:
    """Wait for a slot, then yield one file's frames. Blocking.

    file: a descriptor, which is closed here. account: see `Slots.ask`. Raises BadInput, Overloaded, Stopped.
    """
    slot = lane.slots.ask(size, account)
    stopping.ends(slot.cancel)
    try:
        slot.result(WAIT_S)
    except CancelledError:
        os.close(file)
        raise Stopped from None
    except TimeoutError:
        lane.slots.give_up(slot)
        os.close(file)
        raise overloaded() from None
    try:
        call = Call(request, file)
        stopping.ends(call.stop)
        try:
            yield from call.frames(lane.silence_s)
        finally:
            call.close()
    finally:
        lane.slots.leave(slot)


async def called_async(lane: Lane, request: Request, file: int, size: int, account: str) -> AsyncGenerator[Frame, None]:
    """Do the same on an event loop; closing the generator ends the process."""
    slot = lane.slots.ask(size, account)
    try:
        async with asyncio.timeout(WAIT_S):
            await asyncio.shield(asyncio.wrap_future(slot))
    except BaseException as error:
        lane.slots.give_up(slot)
        os.close(file)
        raise (overloaded() if isinstance(error, TimeoutError) else error) from None
    try:
        call = Call(request, file)
        try:
            frames = call.frames_async(lane.silence_s or SILENCE_S)
            async with contextlib.aclosing(frames):
                async for frame in frames:
                    yield frame
        finally:
            call.close()
    finally:
        lane.slots.leave(slot)


def overloaded() -> Overloaded:
    """The error for a file that got no slot in time."""
    return Overloaded("Too many files are being decoded; retry in a few seconds.", retry_after_s=5.0)


# --- descriptors ---


def _memory(data: bytes) -> int:
    fd = _anonymous()
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("recording", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def descriptor(data: bytes) -> int:
    """Return a read-only descriptor of bytes in memory."""
    return _read_only(_memory(data))


@runtime_checkable
class _Open(Protocol):
    """A file object that may have a descriptor; `fileno` raises OSError if it has none."""

    def fileno(self) -> int: ...


def descriptor_of(file: SeekableSource) -> tuple[int, int]:
    """Return a read-only descriptor of a seekable file object, and its size. The position is kept.

    A file object without a descriptor is copied.
    """
    if isinstance(file, _Open):
        with contextlib.suppress(OSError):
            fd = _read_only(os.dup(file.fileno()))
            return fd, os.fstat(fd).st_size
    at = file.tell()
    file.seek(0)
    fd, size = _anonymous(), 0
    try:
        while data := file.read(COPY_BYTES):
            view = memoryview(data)
            size += len(view)
            while view:
                view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    file.seek(at)
    return _read_only(fd), size


def _read_only(fd: int) -> int:
    """Replace a descriptor by a read-only one of the same file; return it unchanged where the system cannot do so."""
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return fd
    os.close(fd)
    return again
