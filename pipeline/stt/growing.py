"""A recording that is transcribed while it comes in: stable partial results, then the whole.

Words are shown when two hypotheses in a row agree on them (LocalAgreement), and are settled when the speaker pauses.
"""

import asyncio
import logging
import secrets
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace

from pipeline.audio import Clip
from pipeline.listening.detector import RATE_HZ, SileroActivity
from pipeline.listening.partials import LocalAgreement
from pipeline.listening.windows import Window, Windows
from pipeline.media import Recording
from pipeline.stt import FileRequest, SpeechToText
from pipeline.stt.files import cutting_for
from pipeline.subtitles import joined
from pipeline.workers.scheduler import Urgency, calling

log = logging.getLogger(__name__)

BLOCK_S = 0.25
"""Sound is looked at in blocks of so much."""
EVERY_S = 0.7
"""Partial results come no faster, in seconds."""
PAUSE = 2.0
"""After a partial result, none for so many times what it took: the sound must be kept up with."""
MAX_AHEAD_BYTES = 4 * 2**20
"""Bytes that may wait to be decoded."""


class GrowingFile:
    """Bytes that are still coming, as a file that a thread reads. It cannot be sought in."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ended = False
        self._changed = threading.Condition()
        self._tell: Callable[[], object] | None = None
        """Wakes who waits for room."""

    def put(self, data: bytes) -> bool:
        """Add; whether there is room for more now."""
        with self._changed:
            self._data += data
            self._changed.notify_all()
            return len(self._data) < MAX_AHEAD_BYTES

    async def wait_for_room(self) -> None:
        """Until less than MAX_AHEAD_BYTES wait, or the end. One task at a time."""
        room, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._changed:
            if self._has_room():
                return
            self._tell = lambda: loop.call_soon_threadsafe(room.set)
        await room.wait()

    def _has_room(self) -> bool:
        return self._ended or len(self._data) < MAX_AHEAD_BYTES

    def _told(self) -> None:
        self._changed.notify_all()
        if self._tell is not None and self._has_room():
            self._tell()
            self._tell = None

    def end(self) -> None:
        """Nothing more comes. May be called more than once."""
        with self._changed:
            self._ended = True
            self._told()

    def read(self, size: int = -1) -> bytes:
        """Blocking: some bytes, at most `size`; b"" at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._data)
            count = len(self._data) if size < 0 else min(size, len(self._data))
            data = bytes(self._data[:count])
            del self._data[:count]
            self._told()
            return data


@dataclass(frozen=True, slots=True)
class Partial:
    """What is stable so far; grows, and never changes but in its last, unsettled window."""

    text: str


@dataclass(frozen=True, slots=True)
class Whole:
    """All that was said; the last event."""

    text: str


async def transcribe_growing(
    stt: SpeechToText, recording: Recording, file: GrowingFile, request: FileRequest
) -> AsyncGenerator[Partial | Whole, None]:
    """Partial results while `file`, which `recording` reads, grows; the whole when it has ended.

    Closing the generator ends the file. Raises as `pipeline.stt.files.transcribe_file` does, and BadInput for a
    container that can only be read from its end.
    """
    growing = _Growing(stt, request)
    windows = Windows(SileroActivity(), cutting_for(stt))
    blocks = recording.blocks(BLOCK_S)
    loop = asyncio.get_running_loop()
    # A thread of its own: it waits for bytes that may take their time, and others need the shared ones.
    with ThreadPoolExecutor(1, thread_name_prefix="growing") as thread:
        try:
            while (block := await loop.run_in_executor(thread, next, blocks, None)) is not None:
                for window in await loop.run_in_executor(thread, windows.feed, block):
                    yield await growing.settle(window)
                pending = windows.pending
                if pending is not None and (partial := await growing.look(pending)) is not None:
                    yield partial
            for window in windows.finish():
                await growing.settle(window)
            yield Whole(growing.text)
        finally:
            file.end()
            recording.stop()


class _Growing:
    """The text so far."""

    def __init__(self, stt: SpeechToText, request: FileRequest) -> None:
        self._stt, self._request = stt, request
        self._session = secrets.token_hex(8)
        self._settled: list[str] = []
        self._agreement = LocalAgreement()
        self._window = -1
        self._next_s = 0.0

    @property
    def text(self) -> str:
        return joined(self._settled)

    async def settle(self, window: Window) -> Partial:
        """The speaker has paused: this part of the text is as it will be."""
        text = await self._heard(window, Urgency.NOW)
        if text:
            self._settled.append(text)
        self._agreement = LocalAgreement()
        return Partial(self.text)

    async def look(self, pending: Window) -> Partial | None:
        """A look at speech that goes on, when it is time for one. One that fails is left out: the speech is heard again
        when it is settled."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if began_s < self._next_s:
            return None
        if pending.start != self._window:
            self._window, self._agreement = pending.start, LocalAgreement()
        try:
            more = self._agreement.add(await self._heard(pending, Urgency.LATER))
        except Exception as error:
            log.info("a partial result is left out: %s", error)
            more = False
        self._next_s = loop.time() + max(EVERY_S, PAUSE * (loop.time() - began_s))
        return Partial(joined([*self._settled, self._agreement.text])) if more else None

    async def _heard(self, window: Window, urgency: Urgency) -> str:
        texts: list[str] = []
        async with aclosing(self._stt.segments(Clip(window.samples, RATE_HZ), self._request)) as found:
            while True:
                with calling(session=self._session, urgency=urgency):
                    segment = await anext(found, None)
                if segment is None:
                    return joined(texts)
                texts.append(segment.text)
                if self._request.language is None and segment.language:
                    self._request = replace(self._request, language=segment.language)
