"""An engine in a process of its own: it cannot block the event loop, and when it dies or hangs it is started again."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

from pipeline.channel import Channel
from pipeline.errors import EngineError, WorkerCrashed
from pipeline.settings import HOME
from pipeline.workers import EngineSpec
from pipeline.workers.scheduler import Scheduler
from pipeline.workers.wire import LENGTH, Call, Cancel, Done, Failed, Item, Ready, pack, unpack

log = logging.getLogger(__name__)

CANCEL_GRACE_S = 10.0
"""A cancelled call that has not reached its next item after this long is a hang: the process is killed."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 10.0
"""Wait before a start that follows a failed one, doubled each time."""
ITEMS_AHEAD = 4
"""Items read before anybody asks for them; beyond, the socket fills up and the engine waits."""


class _Child:
    """One life of the process: its handle, its socket, and the task that reads from it."""

    def __init__(self, name: str, process: Process, writer: asyncio.StreamWriter) -> None:
        self.process = process
        self._name = name
        self._writer = writer
        self._inbox: Channel[Any] = Channel(ITEMS_AHEAD)
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, spec: EngineSpec) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pipeline.workers.child", str(theirs.fileno()),
                pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL,
                # Found from anywhere, and also where Parley is not installed but run from its folder.
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")])},
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
        child = cls(spec.name, process, writer)
        child._reading = asyncio.create_task(child._read(reader))
        await child.send(spec)
        return child

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Frames into the inbox. A task of its own, so that a cancelled caller never leaves half a frame behind."""
        try:
            while True:
                size = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
                await self._inbox.send(unpack(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            self._inbox.close(WorkerCrashed(f"{self._name} ended unexpectedly."))

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
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class ProcessWorker:
    """See `pipeline.workers.Worker`. `async with` loads the engine and, at the end, ends the process."""

    def __init__(self, spec: EngineSpec, *, max_waiting: int, start_timeout_s: float) -> None:
        self._spec = spec
        self._start_timeout_s = start_timeout_s
        self._scheduler = Scheduler(spec.name, max_waiting=max_waiting)
        self._child: _Child | None = None
        self._settling: asyncio.Task[None] | None = None
        self._number = 0
        self._backoff_s = 0.0

    async def __aenter__(self) -> Self:
        self._child = await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait([self._settling])
        await self._drop()

    @property
    def pid(self) -> int | None:
        """Process id of the engine, None while there is none."""
        return self._child.process.pid if self._child else None

    async def call(self, method: str, *args: Any) -> Any:
        async with contextlib.aclosing(self._messages(method, args)) as messages:
            async for message in messages:
                if isinstance(message, Done):
                    return message.value
        raise AssertionError("a call ends with Done")

    async def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        async with contextlib.aclosing(self._messages(method, args)) as messages:
            async for message in messages:
                if isinstance(message, Item):
                    yield message.value

    async def _messages(self, method: str, args: tuple[Any, ...]) -> AsyncGenerator[Item | Done, None]:
        """The items of one call and its Done. Closed early, the call is cancelled in the process."""
        await self._scheduler.enter()
        child: _Child | None = None
        ended = False
        try:
            child = await self._running()
            self._number += 1
            await child.send(Call(self._number, method, args))
            while not ended:
                message = await child.receive()
                if isinstance(message, Failed):
                    ended = True
                    raise message.error
                ended = isinstance(message, Done)
                yield message
        except WorkerCrashed:
            ended = True
            await self._drop()
            raise
        finally:
            if child is None or ended:
                self._scheduler.leave()
            else:
                # Nobody waits for the end of a cancelled call but the next one, before the scheduler.
                self._settling = asyncio.create_task(self._settle(child, self._number))

    async def _settle(self, child: _Child, number: int) -> None:
        """Cancel a call and read until its end; kill a process that does not come to it. Then let the next one in."""
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await child.send(Cancel(number))
                while not isinstance(await child.receive(), Done | Failed):
                    pass
        except (TimeoutError, WorkerCrashed):
            log.warning("%s did not stop a cancelled call and is ended", self._spec.name)
            await self._drop()
        finally:
            self._scheduler.leave()

    async def _running(self) -> _Child:
        """The process, started again if it has gone."""
        if self._child is None or self._child.process.returncode is not None:
            await self._drop()
            log.warning("%s is started again", self._spec.name)
            self._child = await self._start()
        return self._child

    async def _start(self) -> _Child:
        await asyncio.sleep(self._backoff_s)
        self._backoff_s = min(MAX_BACKOFF_S, max(FIRST_BACKOFF_S, self._backoff_s * 2))
        child = await _Child.start(self._spec)
        try:
            async with asyncio.timeout(self._start_timeout_s):
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
        return child

    async def _drop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()
