"""Transcription of a recording while it is received: stable partial results, then the whole text.

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

from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording
from pipeline.conversation.partials import LocalAgreement
from pipeline.listening.detector import RATE_HZ, SileroActivity
from pipeline.stt import FileRequest, SpeechToText
from pipeline.transcripts.long_files import cutting_for
from pipeline.transcripts.subtitles import joined
from pipeline.transcripts.windows import Window, Windows
from pipeline.workers.caller import Urgency, calling

log = logging.getLogger(__name__)

BLOCK_S = 0.25
"""Length of the blocks in which sound is processed, in seconds."""
EVERY_S = 0.7
"""Minimum time between partial results, in seconds."""
PAUSE = 2.0
"""Pause after a partial result, as a multiple of the time that it took, so that transcription keeps up."""
MAX_AHEAD_BYTES = 4 * 2**20
"""Maximum number of bytes that wait to be decoded."""


class GrowingFile:
    """Bytes that are still being received, as a file that a thread reads. It is not seekable."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ended = False
        self._changed = threading.Condition()
        self._tell: Callable[[], object] | None = None
        """Wakes the task that waits for room."""

    def put(self, data: bytes) -> bool:
        """Append data; return whether there is room for more now."""
        with self._changed:
            self._data += data
            self._changed.notify_all()
            return len(self._data) < MAX_AHEAD_BYTES

    async def wait_for_room(self) -> None:
        """Wait until less than MAX_AHEAD_BYTES are buffered, or until the end. One task at a time."""
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
        """End the file. Can be called more than once."""
        with self._changed:
            self._ended = True
            self._told()

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; b"" at the end. Blocking."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._data)
            count = len(self._data) if size < 0 else min(size, len(self._data))
            data = bytes(self._data[:count])
            del self._data[:count]
            self._told()
            return data


@dataclass(frozen=True, slots=True)
class Partial:
    """The stable text so far. It grows, and only its last, unsettled window can change."""

    text: str


@dataclass(frozen=True, slots=True)
class Whole:
    """The complete text; the last event."""

    text: str


async def transcribe_growing(
    stt: SpeechToText, recording: Recording, file: GrowingFile, request: FileRequest
) -> AsyncGenerator[Partial | Whole, None]:
    """Yield partial results while `file`, which `recording` reads, grows; yield the whole text when it has ended.

    Closing the generator ends the file. Raises the errors of `long_files.transcribe_file`, and BadInput for a
    container that can only be read from its end.
    """
    growing = _Growing(stt, request)
    windows = Windows(SileroActivity(), cutting_for(stt))
    blocks = recording.blocks(BLOCK_S)
    loop = asyncio.get_running_loop()
    # A separate thread: it waits for bytes that can arrive slowly, and the shared threads are needed elsewhere.
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
        """Add a window after which the speaker has paused: this part of the text is final."""
        text = await self._heard(window, Urgency.NOW)
        if text:
            self._settled.append(text)
        self._agreement = LocalAgreement()
        return Partial(self.text)

    async def look(self, pending: Window) -> Partial | None:
        """Transcribe speech that is still going on, if it is time for that. A failure is ignored: the speech is
        transcribed again when it is settled."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if began_s < self._next_s:
            return None
        if pending.start != self._window:
            self._window, self._agreement = pending.start, LocalAgreement()
        try:
            more = self._agreement.add(await self._heard(pending, Urgency.LATER))
        except Exception as error:
            log.info("skipped a partial result: %s", error)
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
                if self._request.expected is None and segment.language:
                    self._request = replace(self._request, expected=segment.language)
