"""An engine in a process of its own: it cannot block the event loop, and when it dies or hangs it is started again."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

from pipeline.channel import Channel
from pipeline.errors import EngineError, WorkerCrashed
from pipeline.settings import HOME
from pipeline.workers import EngineSpec
from pipeline.workers.environment import clean_environment
from pipeline.workers.job import Job
from pipeline.workers.wire import LENGTH, Batch, Call, Cancel, Failed, Ready, pack, unpack

log = logging.getLogger(__name__)

CANCEL_GRACE_S = 10.0
"""A cancelled call that has not reached its next item after this long is a hang: the process is killed."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 10.0
"""Wait before a start that follows a failed one, doubled each time."""
MESSAGES_AHEAD = 4
"""Messages read before anybody asks for them; beyond, the socket fills up and the engine waits."""


class _Child:
    """One life of the process: its handle, its socket, and the task that reads from it."""

    def __init__(self, name: str, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process = process
        self.when_gone: Callable[[], None] | None = None
        """Called when the process ends."""
        self._name = name
        self._writer = writer
        self._inbox: Channel[Any] = Channel(MESSAGES_AHEAD)
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def start(cls, spec: EngineSpec, niceness: int) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pipeline.workers.child", str(theirs.fileno()), spec.name, str(niceness),
                pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL,
                # Found from anywhere, and also where Parley is not installed but run from its folder.
                env=clean_environment(
                    downloads=spec.downloads,
                    PYTHONPATH=os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")]),
                ),
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        return cls(spec.name, process, reader, writer)

    @property
    def gone(self) -> bool:
        return self._reading.done() or self.process.returncode is not None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Frames into the inbox. A task of its own, so that a cancelled caller never leaves half a frame behind."""
        try:
            while True:
                size = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
                await self._inbox.send(unpack(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            self._inbox.close(WorkerCrashed(f"{self._name} ended unexpectedly."))
            if self.when_gone is not None:
                asyncio.get_running_loop().call_soon(self.when_gone)

    def post(self, message: object) -> None:
        """Send what is small, at once. Nothing happens when the process is gone."""
        with contextlib.suppress(OSError):
            self._writer.write(pack(message))

    async def send(self, message: object) -> None:
        """Raises WorkerCrashed when the process is gone."""
        try:
            self._writer.write(pack(message))
            await self._writer.drain()
        except OSError:
            raise WorkerCrashed(f"{self._name} ended unexpectedly.") from None

    async def receive(self) -> Any:
        """The next message. Raises WorkerCrashed when the process is gone."""
        return await anext(self._inbox)

    async def end(self) -> None:
        """Kill it and wait for it: models hold nothing that a kill could harm."""
        self.when_gone = None
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class ProcessHost:
    """See `pipeline.workers.pool.Host`."""

    def __init__(self, spec: EngineSpec, *, start_timeout_s: float, silence_s: float, niceness: int = 0) -> None:
        """start_timeout_s: loading may take so long; silence_s: see `Serving`; niceness: that the process adds to its
        own."""
        self._spec = spec
        self._niceness = niceness
        self._start_timeout_s = start_timeout_s
        self._silence_s = silence_s
        self._child: _Child | None = None
        self._number = 0
        self._backoff_s = 0.0
        self.restarts = 0

    @property
    def loaded(self) -> bool:
        return self._child is not None and not self._child.gone

    def when_lost(self, tell: Callable[[], None] | None) -> bool:
        """See Host."""
        if self._child is None:
            return False
        self._child.when_gone = tell
        return self._child.gone

    async def load(self) -> None:
        """See Host. Raises EngineError also when it is not ready in time."""
        if self._child is not None:
            if not self._child.gone:
                return
            await self.unload()
            self.restarts += 1
            log.warning("%s is started again", self._spec.name)
        await asyncio.sleep(self._backoff_s)
        self._backoff_s = min(MAX_BACKOFF_S, max(FIRST_BACKOFF_S, self._backoff_s * 2))
        child = await _Child.start(self._spec, self._niceness)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await child.send(self._spec)
                message = await child.receive()
            if isinstance(message, Failed):
                raise message.error
            assert isinstance(message, Ready)  # noqa: S101  # the protocol's first answer
        except TimeoutError:
            await child.end()
            raise EngineError(f"{self._spec.name} was not ready after {self._start_timeout_s:g} s.") from None
        except BaseException:
            await child.end()
            raise
        self._backoff_s = 0.0
        self._child = child

    async def unload(self) -> None:
        """See Host: with the process, all its memory comes back."""
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def serve(self, jobs: Sequence[Job]) -> None:
        """See Host. Raises WorkerCrashed with the code `timeout` for a process that hung and was ended."""
        child = self._child
        assert child is not None  # noqa: S101  # `load` comes first
        running: dict[int, Job] = {}
        for job in jobs:
            if not job.cancelled:
                self._number += 1
                running[self._number] = job
        if not running:
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._silence_s) as limit:

                def cancel(number: int) -> None:
                    child.post(Cancel(number))
                    when = limit.when()
                    if all(job.cancelled for job in running.values()) and when is not None and not limit.expired():
                        limit.reschedule(min(when, loop.time() + CANCEL_GRACE_S))

                for number, job in running.items():
                    job.on_cancel = partial(cancel, number)
                calls = [Call(number, job.method, job.args) for number, job in running.items()]
                await child.send(calls[0] if len(calls) == 1 else Batch(calls))
                while running:
                    message = await child.receive()
                    job = running[message.number]
                    limit.reschedule(None)  # the engine may wait while its caller is behind
                    await job.take(message)
                    if job.over:
                        del running[message.number]
                    unwanted = all(job.cancelled for job in running.values())
                    limit.reschedule(loop.time() + (CANCEL_GRACE_S if unwanted else self._silence_s))
        except WorkerCrashed:
            await child.end()  # what refused a message may not have been seen to end yet
            raise
        except TimeoutError:
            log.warning("%s hangs and is ended", self._spec.name)
            await child.end()
            raise WorkerCrashed(
                f"{self._spec.name} said nothing for {self._silence_s:g} s and was ended.", code="timeout"
            ) from None
        finally:
            for job in jobs:
                job.on_cancel = None
