"""An engine in a separate process: it cannot block the event loop, and is restarted when it dies or hangs."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from pipeline.errors import EngineError, WorkerCrashed
from pipeline.folders import HOME
from pipeline.support.channel import Channel
from pipeline.support.environment import clean_environment
from pipeline.workers import EngineSpec
from pipeline.workers.model_call import ModelCall
from pipeline.workers.wire import LENGTH, Answer, Batch, Call, Cancel, Failed, Ready, pack, unpack

log = logging.getLogger(__name__)

CANCEL_GRACE_S = 10.0
"""A cancelled call that has not reached its next item after this time hangs: its process is killed."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 10.0
"""Delay before a start that follows a failed one; doubles each time."""
MESSAGES_AHEAD = 4
"""Messages read ahead of the caller; beyond this, the socket fills up and the engine waits."""


class _Child:
    """One run of the process: its handle, its socket, and the task that reads from it."""

    def __init__(self, name: str, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process = process
        self.when_gone: Callable[[], None] | None = None
        """Callback for the end of the process."""
        self._name = name
        self._writer = writer
        self._inbox: Channel[Answer] = Channel(MESSAGES_AHEAD)
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def start(cls, spec: EngineSpec, niceness: int) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pipeline.workers.child", str(theirs.fileno()), spec.name, str(niceness),
                pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL,
                # So that Parley is found from any folder, even if it is not installed but run from its own.
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
        """Read frames into the inbox. A separate task, so that a cancelled caller never leaves half a frame behind."""
        try:
            while True:
                size = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
                await self._inbox.send(unpack(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            self._inbox.close(WorkerCrashed(f"{self._name} ended unexpectedly."))
            if self.when_gone is not None:
                asyncio.get_running_loop().call_soon(self.when_gone)

    def post(self, message: object) -> None:
        """Send a small message without waiting. Does nothing when the process is gone."""
        with contextlib.suppress(OSError):
            self._writer.write(pack(message))

    async def send(self, message: object) -> None:
        """Send a message. Raises WorkerCrashed when the process is gone."""
        try:
            self._writer.write(pack(message))
            await self._writer.drain()
        except OSError:
            raise WorkerCrashed(f"{self._name} ended unexpectedly.") from None

    async def receive(self) -> Answer:
        """Return the next message. Raises WorkerCrashed when the process is gone."""
        return await anext(self._inbox)

    async def end(self) -> None:
        """Kill the process and wait for its end: models hold no state that a kill could damage."""
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
        """start_timeout_s: for loading. silence_s: see `Serving`. niceness: added to that of this process."""
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
        """See Host. Also raises EngineError when the engine is not ready in time."""
        if self._child is not None:
            if not self._child.gone:
                return
            await self.unload()
            self.restarts += 1
            log.warning("restarting %s", self._spec.name)
        await asyncio.sleep(self._backoff_s)
        self._backoff_s = min(MAX_BACKOFF_S, max(FIRST_BACKOFF_S, self._backoff_s * 2))
        child = await _Child.start(self._spec, self._niceness)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await child.send(self._spec)
                message = await child.receive()
            if isinstance(message, Failed):
                raise message.error
            assert isinstance(message, Ready)  # noqa: S101  # the first message of the protocol
        except TimeoutError:
            await child.end()
            raise EngineError(f"{self._spec.name} was not ready after {self._start_timeout_s:g} s.") from None
        except BaseException:
            await child.end()
            raise
        self._backoff_s = 0.0
        self._child = child

    async def unload(self) -> None:
        """See Host. Ending the process frees all its memory."""
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def serve(self, calls: Sequence[ModelCall]) -> None:
        """See Host. Raises WorkerCrashed with the code `timeout` for a process that hung and was ended."""
        child = self._child
        assert child is not None  # noqa: S101  # `load` comes first
        running: dict[int, ModelCall] = {}
        for call in calls:
            if not call.cancelled:
                self._number += 1
                running[self._number] = call
        if not running:
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._silence_s) as limit:

                def cancel(number: int) -> None:
                    child.post(Cancel(number))
                    when = limit.when()
                    if all(call.cancelled for call in running.values()) and when is not None and not limit.expired():
                        limit.reschedule(min(when, loop.time() + CANCEL_GRACE_S))

                for number, call in running.items():
                    call.on_cancel = partial(cancel, number)
                messages = [Call(number, call.method, call.args) for number, call in running.items()]
                await child.send(messages[0] if len(messages) == 1 else Batch(messages))
                while running:
                    message = await child.receive()
                    assert not isinstance(message, Ready)  # noqa: S101  # only the first message of the protocol
                    call = running[message.number]
                    limit.reschedule(None)  # the engine is allowed to wait while its caller is behind
                    await call.take(message)
                    if call.over:
                        del running[message.number]
                    unwanted = all(call.cancelled for call in running.values())
                    limit.reschedule(loop.time() + (CANCEL_GRACE_S if unwanted else self._silence_s))
        except WorkerCrashed:
            await child.end()  # a process that refused a message can still be running
            raise
        except TimeoutError:
            log.warning("%s hangs; ending its process", self._spec.name)
            await child.end()
            raise WorkerCrashed(
                f"{self._spec.name} hung for {self._silence_s:g} s and was ended.", code="timeout"
            ) from None
        finally:
            for call in calls:
                call.on_cancel = None
