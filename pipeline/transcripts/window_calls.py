"""The windows of one recording that the recogniser is working on: one, or as many at a time as the engine decodes."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from pipeline.audio.clip import Clip
from pipeline.listening.detector import RATE_HZ
from pipeline.stt import FileRequest, Segment, SpeechToText
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.transcripts.windows import Window
from pipeline.workers.caller import for_file

MOST_SEGMENTS = 10_000
"""Limit for one window, higher than any window has: a finished window never waits for the reader of an earlier one."""

Step = tuple[Window | float, AsyncIterator[Segment]]


class UnderWay:
    """Passes windows to the recogniser and yields their segments in order."""

    def __init__(self, stt: SpeechToText, request: FileRequest) -> None:
        batch = min(request.batch_size or stt.limits.batch, stt.limits.batch)
        self._stt, self._request = stt, request
        at_once = batch * stt.limits.parallel
        self._most = 2 * at_once if at_once > 1 else 1  # the next batches wait while the first are decoded
        self._session = secrets.token_hex(8)
        self._given = 0
        """Windows whose segments are not all read yet."""
        self._changed = asyncio.Event()

    @property
    def language(self) -> str | None:
        """The language of the recording: as requested, or of its first speech."""
        return self._request.language or self._request.expected

    def speaks(self, language: str | None) -> None:
        """Set the language of the first speech, which is expected in the other windows, too. Until then, one window is
        transcribed at a time."""
        if self._request.language is None:
            self._request = replace(self._request, expected=language)
            self._changed.set()

    async def results(self, windows: AsyncIterator[Window | float]) -> AsyncGenerator[Step, None]:
        """Yield (window, its segments as they are found) in order; for a time in seconds, no segments. Read the
        segments of one step before asking for the next."""
        steps: Channel[Step] = Channel(self._most)
        async with background(self._hand(windows, steps)):
            async for step in steps:
                yield step
                if isinstance(step[0], Window):
                    self._given -= 1
                    self._changed.set()

    async def _hand(self, windows: AsyncIterator[Window | float], steps: Channel[Step]) -> None:
        async with asyncio.TaskGroup() as hearing:
            try:
                async for window in windows:
                    found: Channel[Segment] = Channel(MOST_SEGMENTS)
                    if isinstance(window, Window):
                        await self._room()
                        with for_file(self._session):
                            hearing.create_task(self._hear(window, found))
                    else:
                        found.close()
                    await steps.send((window, found))
                steps.close()
            except Exception as error:  # any error is raised in the reader of the steps; earlier windows are still read
                steps.close(error)

    async def _room(self) -> None:
        while self._given >= (self._most if self.language else 1):
            self._changed.clear()
            await self._changed.wait()
        self._given += 1

    async def _hear(self, window: Window, found: Channel[Segment]) -> None:
        # The times of words decide on which side of a joint the words are.
        request = replace(self._request, words=self._request.words or bool(window.joints))
        try:
            async with aclosing(self._stt.segments(Clip(window.samples, RATE_HZ), request)) as segments:
                async for segment in segments:
                    await found.send(segment)
            found.close()
        except Exception as error:  # raised in the reader of this window's segments
            found.close(error)
