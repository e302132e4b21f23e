"""Stable partial transcripts, made rarely enough to leave the recogniser free for final ones."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from difflib import SequenceMatcher

from pipeline.audio.clip import Clip
from pipeline.errors import ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.stt import Transcript

log = logging.getLogger(__name__)

PAUSE = 4.0
"""Pause after a partial transcript, as a multiple of its duration."""
NEAR = 20
"""Words before and after the end of known words among which that end is found again in another transcript."""

_BARE = re.compile(r"[\W_]+", re.UNICODE)


class LocalAgreement:
    """The agreed start of a growing utterance: a word is shown once two consecutive hypotheses agree on it.

    LocalAgreement-2 (Macháček, Dabre, Bojar: "Turning Whisper into Real-Time Transcription System", 2023).
    """

    def __init__(self, agreed: Sequence[str] = ()) -> None:
        """agreed: words with which the utterance is known to begin."""
        self._previous: list[str] = []
        self._agreed = [*agreed]

    @property
    def words(self) -> Sequence[str]:
        """The agreed words so far."""
        return self._agreed

    @property
    def text(self) -> str:
        """The agreed text so far."""
        return " ".join(self._agreed)

    def add(self, hypothesis: str) -> bool:
        """Add the next transcript of the utterance so far. Returns whether the agreed text has grown; it never
        shrinks."""
        words = hypothesis.split()
        common = 0
        for old, new in zip(self._previous, words, strict=False):
            if _bare(old) != _bare(new):
                break
            common += 1
        self._previous = words
        # Words that were shown stay unchanged; new ones take case and punctuation from the newest hypothesis.
        more = following(self._agreed, words[:common])
        self._agreed += more
        return bool(more)


def following(known: Sequence[str], words: Sequence[str]) -> Sequence[str]:
    """Return the words of a transcript that follow the known ones. It can write these differently ("21" for "twenty
    one"), so they end where both match last."""
    count = len(known)
    start = max(0, count - NEAR)
    here, there = ([_bare(word) for word in some[start : count + NEAR]] for some in (known, words))
    *found, _ = SequenceMatcher(None, here, there, autojunk=False).get_matching_blocks()  # the last one is empty
    return words[max(0, count + (found[-1].b - found[-1].a if found else 0)) :]


def _bare(word: str) -> str:
    return _BARE.sub("", word.lower())


class PartialTranscripts:
    """The transcript so far of the current utterance. Positions are samples of the session's clock."""

    def __init__(self, transcribe: Callable[[Clip], Awaitable[Transcript]], show: Callable[[str], None]) -> None:
        """show: receives the text so far, whenever it has grown."""
        self._transcribe, self._show = transcribe, show
        self._agreement = LocalAgreement()
        self._before = ""
        """Shown text of the parts that were cut off."""
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self, at: int) -> None:
        """Start an utterance."""
        self._before = ""
        self._begin_part(at)

    def go_on(self, at: int) -> None:
        """Start the next part of the utterance at a cut: its text is shown after the text so far."""
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
        """Cancel the pending partial transcript when the utterance pauses or ends."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def due(self, now: int, every_ms: int) -> bool:
        """Whether the next partial transcript is due."""
        return bool(every_ms) and self._task is None and now - self._next >= every_ms * RATE_HZ // 1000

    def add(self, hypothesis: str) -> None:
        """Add a transcript of the utterance so far."""
        if self._agreement.add(hypothesis):
            self._show(self._text)

    def make(self, clip: Clip, now: int) -> asyncio.Task[None]:
        """Start the next partial transcript, of the utterance so far."""
        self._next = now
        self._task = asyncio.create_task(self._make(clip, now))
        return self._task

    async def _make(self, clip: Clip, now: int) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            heard = await self._transcribe(clip)
        except ParleyError as error:
            log.debug("no partial transcript: %s", error.message)  # the final transcript will report the error
        else:
            self.add(heard.text)
        # A slow recogniser gets fewer requests, so that it is free for final transcripts.
        self._next = now + int((1 + PAUSE) * (loop.time() - start) * RATE_HZ)
        self._task = None
