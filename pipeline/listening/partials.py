"""Partial transcripts that do not flicker, made rarely enough that final ones find the recogniser free."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

from pipeline.audio import Clip
from pipeline.errors import ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.stt import Transcript

log = logging.getLogger(__name__)

PAUSE = 4.0
"""After a partial transcript, none for so many times what it took."""

_BARE = re.compile(r"[\W_]+", re.UNICODE)


class LocalAgreement:
    """The agreed beginning of a growing utterance: a word is shown once two hypotheses in a row agree on it.

    LocalAgreement-2 (Macháček, Dabre, Bojar: "Turning Whisper into Real-Time Transcription System", 2023).
    """

    def __init__(self) -> None:
        self._previous: list[str] = []
        self._agreed: list[str] = []

    @property
    def text(self) -> str:
        """What is agreed so far."""
        return " ".join(self._agreed)

    def add(self, hypothesis: str) -> bool:
        """The next transcript of the utterance so far. Whether more is agreed than before; it never becomes less."""
        words = hypothesis.split()
        common = 0
        for old, new in zip(self._previous, words, strict=False):
            if _bare(old) != _bare(new):
                break
            common += 1
        self._previous = words
        if common <= len(self._agreed):
            return False
        # Words that were shown stay as they were shown; case and punctuation of the new ones are the newest.
        self._agreed += words[len(self._agreed) : common]
        return True


def _bare(word: str) -> str:
    return _BARE.sub("", word.lower())


class PartialTranscripts:
    """What is understood so far of the utterance being spoken. Positions are samples of the session's clock."""

    def __init__(self, transcribe: Callable[[Clip], Awaitable[Transcript]], show: Callable[[str], None]) -> None:
        """show: takes the text so far, whenever there is more of it."""
        self._transcribe, self._show = transcribe, show
        self._agreement = LocalAgreement()
        self._before = ""
        """What was shown of the parts that were cut off."""
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self, at: int) -> None:
        """An utterance begins."""
        self._before = ""
        self._begin_part(at)

    def go_on(self, at: int) -> None:
        """The utterance was cut here: what follows is shown behind what was shown."""
        self._before = self._text
        self._begin_part(at)

    def _begin_part(self, at: int) -> None:
        self.end()
        self._agreement = LocalAgreement()
        self._next = at

    @property
    def _text(self) -> str:
        return f"{self._before} {self._agreement.text}".strip()

    def end(self) -> None:
        """The utterance pauses or is over: none is being made any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def due(self, now: int, every_ms: int) -> bool:
        """Whether it is time for the next one."""
        return bool(every_ms) and self._task is None and now - self._next >= every_ms * RATE_HZ // 1000

    def add(self, hypothesis: str) -> None:
        """A transcript of the utterance so far."""
        if self._agreement.add(hypothesis):
            self._show(self._text)

    def make(self, clip: Clip, now: int) -> asyncio.Task[None]:
        """The next one, of the utterance so far."""
        self._next = now
        self._task = asyncio.create_task(self._make(clip, now))
        return self._task

    async def _make(self, clip: Clip, now: int) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            heard = await self._transcribe(clip)
        except ParleyError as error:
            log.debug("no partial transcript: %s", error.message)  # the final one will tell
        else:
            self.add(heard.text)
        # A recogniser that takes long for one is asked rarely: finals must find it free.
        self._next = now + int((1 + PAUSE) * (loop.time() - start) * RATE_HZ)
        self._task = None
