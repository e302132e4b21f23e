"""One AudioSocket call."""

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager

from pipeline.assistant import Assistant
from pipeline.audio.clip import mono
from server.access.limits import FRAME_BYTES, Share
from server.http.draining import Draining, Leaving
from server.http.tcp_server import write
from server.telephone.audiosocket.frames import (
    DTMF,
    ERROR,
    HANGUP,
    ID,
    ID_BYTES,
    RATES_HZ,
    SOUND,
    Broken,
    Frame,
    read_frame,
)
from server.telephone.call import Call
from server.telephone.sound import FRAME_MS, Speaker

log = logging.getLogger(__name__)

FIRST_FRAME_S = 5.0
"""Timeout for the first frame, the call's ID, in seconds: until then the connection has no slot."""
FIRST_SOUND_S = 15.0
"""Timeout for the first sound or key, in seconds, in which a call without a user would keep its slot. Asterisk sends
sound 50 times a second from the beginning; later a telephone may suppress silence."""
LEAD_MS = 80
"""How far ahead of real time the speaker gets its sound, in ms."""
MAX_BEHIND_S = 0.2
"""How late a frame may be, in seconds; after that the clock of the frames starts again."""
SEND_BUFFER_BYTES = 1 << 14
"""Buffer of the socket: a client that does not read gets some seconds of sound behind, and no more."""
WRITE_S = 5.0
"""Timeout for a client that does not read, in seconds."""


class Over(Exception):
    """The call is over."""


class AudioSocketConnection:
    """Holds the call of one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        assistant: Assistant,
        draining: Draining,
        held: Share,
        slot: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """held: the caller's memory. slot: the slot, taken with the call's ID; raises Overloaded."""
        self._reader, self._writer = reader, writer
        self._assistant, self._draining, self._held, self._slot = assistant, draining, held, slot
        self._kind = SOUND
        """Kind of the sound in both directions: that of the user's last sound."""
        self._speaker = Speaker(RATES_HZ[SOUND])

    async def run(self) -> None:
        """Run the call until the user hangs up or the conversation ends, and hang up. Raises Overloaded, OSError."""
        id = await self._id()
        if id is None:
            return
        with self._slot():
            self._draining.came()
            try:
                await self._hold(id)
            finally:
                self._draining.went()

    async def _id(self) -> uuid.UUID | None:
        try:
            async with asyncio.timeout(FIRST_FRAME_S):
                first = await read_frame(self._reader)
        except (TimeoutError, Broken):
            return None
        return uuid.UUID(bytes=first.payload) if first.kind == ID and len(first.payload) == ID_BYTES else None

    async def _hold(self, id: uuid.UUID) -> None:
        self._bound()
        call = Call(self._assistant, self._speaker, lead_ms=LEAD_MS, room=self._held)
        log.info("call %s is session %s", id, call.session.conversation.id)
        try:
            async with call, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(call))
                tasks.create_task(self._play())
                tasks.create_task(self._finish(call))
                tasks.create_task(self._cut())
        except* (Over, OSError):
            pass  # hung up, or disconnected
        except* Broken as group:
            log.info("call %s is broken: %s", id, group.exceptions[0])

    def _bound(self) -> None:
        """Keep little sound on the way: what a client reads late, its user would hear late."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._writer.transport.set_write_buffer_limits(SEND_BUFFER_BYTES)

    async def _hear(self, call: Call) -> None:
        try:
            async with asyncio.timeout(FIRST_SOUND_S) as first:
                while True:
                    frame = await read_frame(self._reader)
                    await self._held.paced(len(frame.payload) + FRAME_BYTES)
                    if frame.kind in (HANGUP, ERROR):
                        raise Over
                    if frame.kind in RATES_HZ or frame.kind == DTMF:
                        first.reschedule(None)
                        self._take(call, frame)
                    await asyncio.sleep(0)  # during a burst, let other connections run
        except TimeoutError:
            if not first.expired():
                raise  # the connection's own
            log.info("the call ends: no sound has come for %g s", FIRST_SOUND_S)
            raise Over from None

    def _take(self, call: Call, frame: Frame) -> None:
        """Process the user's next sound or key."""
        if frame.kind == DTMF:
            call.press(frame.payload.decode("latin-1"))
            return
        if frame.kind != self._kind:
            self._kind = frame.kind
            self._speaker.use(RATES_HZ[frame.kind])
        call.hear(mono(frame.payload, "<i2"), RATES_HZ[frame.kind])

    async def _play(self) -> None:
        """Send a frame each 20 ms: the sound of the replies, or silence."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not (self._speaker.closed and self._speaker.silent):
            behind_s = loop.time() - due
            if behind_s > MAX_BEHIND_S:
                due += behind_s
            elif behind_s < 0:
                await asyncio.sleep(-behind_s)
            write(self._writer, Frame(self._kind, self._speaker.frame()).encoded())
            await self._sent()
            due += FRAME_MS / 1000
        raise Over

    async def _sent(self) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise Over from None

    async def _finish(self, call: Call) -> None:
        await self._draining.begun.wait()
        call.session.finish(Leaving())

    async def _cut(self) -> None:
        await self._draining.cut.wait()
        raise Over
