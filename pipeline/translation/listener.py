"""Recognition of the speaker's words, and of clauses of them.

A window of speech is transcribed again and again while it grows. Words on which two transcripts in a row agree are
final, and so are all words before a pause. The window goes on over short pauses, because recognisers need context:
Whisper drops a lone "ask not".
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from pipeline import stt
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode.mixing import Offset
from pipeline.conversation.partials import LocalAgreement, following
from pipeline.errors import EngineError, ParleyError
from pipeline.listening.detector import RATE_HZ, VoiceActivity
from pipeline.listening.ear import milliseconds
from pipeline.stt import SpeechToText, Transcript
from pipeline.support.channel import Channel
from pipeline.support.encodable import encodable
from pipeline.telemetry import metrics
from pipeline.transcripts.subtitles import separator
from pipeline.transcripts.windows import Cutting, Window, Windows
from pipeline.translation.clauses import ClauseCutter, SourceClause
from pipeline.translation.events import Failed, SourceDelta
from pipeline.workers.caller import Urgency, less_urgent

log = logging.getLogger(__name__)

MAX_WINDOW_S = 15.0
"""Limit of a window in seconds: each transcript of it takes longer. It is cut in its longest pause."""
LONG_WINDOW_S = 8.0
"""Length from which the next pause ends a window. Up to 10 s, length costs Whisper nothing."""
PAUSE_S = 0.5
"""Silence that ends a clause."""
LONG_PAUSE_S = 2.0
"""Silence that ends a window of any length."""
PAD_S = 0.2
"""Silence kept around the speech of a window."""
QUIET_S = 0.16
"""Silence after which a window is transcribed at once: if it becomes a pause, this is the transcript of all words."""
HOLD_S = 1.5
"""Silence after which words are translated although they must go on ("and the")."""
STALLED_S = 2.0
"""Time without any sound that counts as a pause."""
EVERY_S = 0.7
"""Minimum time between two transcripts of a window."""
PAUSE = 1.5
"""Pause after such a transcript, as a multiple of its duration, which leaves the recogniser to other sessions."""
CERTAIN = 0.7
"""Probability from which the detected language counts."""


class Listener:
    """The recognition of one session. Positions are samples of the speaker's sound at 16 kHz."""

    def __init__(
        self,
        engine: SpeechToText,
        *,
        activity: VoiceActivity,
        language: str | None,
        emit: Callable[[SourceDelta | Failed], Awaitable[None]],
        release: Callable[[SourceClause], Awaitable[None]],
    ) -> None:
        """language: ISO 639-1 of the speech; None: detected. emit: receives the words.
        release: receives the clauses; both are awaited, which stops the listening."""
        self._engine, self._language = engine, language
        self._emit, self._release = emit, release
        max_s = min(MAX_WINDOW_S, engine.limits.max_s)
        self._windows = Windows(activity, Cutting(max_s=max_s, pause_s=LONG_PAUSE_S, pad_s=PAD_S))
        self._offset = Offset(RATE_HZ)
        self._loop = asyncio.get_running_loop()
        self._window = -1
        """Start of the window that is being heard."""
        self._agreement = LocalAgreement()
        self._looked_until = 0
        """End of the sound in the newest transcript."""
        self._newest: Transcript | None = None
        """The newest transcript; None: it failed."""
        self._next_s = 0.0
        self._cutter = ClauseCutter()
        self._complete_until = 0
        """End of the sound of which all words were added."""
        self._inserted = 0
        """Samples of silence that stand for missing sound."""
        self._reached_ms = 0.0
        self._language_now = language
        self._last = ""
        """The last word."""

    async def run(self, sound: Channel[Samples]) -> None:
        """Hear all of the sound: float32 mono at 16 kHz, any number of samples each time."""
        while True:
            try:
                async with asyncio.timeout(STALLED_S if self._expects_more else None):
                    samples = await anext(sound)
            except StopAsyncIteration:
                break
            except TimeoutError:
                samples = np.zeros(int(LONG_PAUSE_S * RATE_HZ), np.float32)
                self._inserted += len(samples)
            await self._take(samples)
        for window in self._windows.finish():
            await self._settle(window, cut=False)
        await self._flush()

    @property
    def silence_s(self) -> float:
        """Seconds of sound since the last speech."""
        return (self._windows.now - self._windows.last_speech) / RATE_HZ

    @property
    def _expects_more(self) -> bool:
        return self._windows.pending_start is not None or bool(self._cutter.rest)

    async def _take(self, samples: Samples) -> None:
        windows = self._windows.feed(self._offset.without(samples))
        pending = self._windows.pending_start
        for number, window in enumerate(windows, 1):
            after = windows[number].start if number < len(windows) else pending
            await self._settle(window, cut=after == window.end)
        if pending is not None:
            await self._look(pending)
        if self._cutter.rest and self._is_complete:
            wait_s = HOLD_S if self._cutter.unfinished(self._language_now) else PAUSE_S
            if self.silence_s >= wait_s:
                await self._flush()

    @property
    def _is_complete(self) -> bool:
        """Whether all words of the sound so far were added."""
        return self._complete_until >= self._windows.last_speech

    async def _look(self, start: int) -> None:
        """Transcribe a window that is still growing, if it is time for that, and complete it in a pause."""
        if start != self._window:
            self._begin(start)
        quiet = self.silence_s >= QUIET_S
        if self._looked_until < self._windows.last_speech and (quiet or self._loop.time() >= self._next_s):
            await self._add_agreed(Urgency.AHEAD if quiet else Urgency.LATER)
        if self.silence_s >= PAUSE_S and not self._is_complete:
            window = self._growing
            await self._complete(window)
            if len(window.samples) >= LONG_WINDOW_S * RATE_HZ:
                self._windows.close()

    @property
    def _growing(self) -> Window:
        window = self._windows.pending
        assert window is not None  # noqa: S101  # it has a start
        return window

    async def _add_agreed(self, urgency: Urgency) -> None:
        """Add the words on which this transcript and the one before it agree."""
        began_s = self._loop.time()
        self._looked_until, self._newest = self._windows.now, None
        try:
            with less_urgent(urgency):
                self._newest = await self._transcribe(self._growing)
        except ParleyError as error:
            log.info("skipped a partial transcript: %s", error.message)  # the next one reports it
        else:
            before = len(self._agreement.words)
            if self._agreement.add(self._newest.text):
                await self._add(self._agreement.words[before:], self._newest, self._looked_until)
        self._next_s = self._loop.time() + max(EVERY_S, PAUSE * (self._loop.time() - began_s))

    def _begin(self, start: int, said: Sequence[str] = ()) -> None:
        """Begin a window. said: words at its beginning that were added already."""
        self._window, self._agreement = start, LocalAgreement(said)
        self._looked_until, self._newest = start, None
        self._next_s = self._loop.time() + EVERY_S

    async def _settle(self, window: Window, *, cut: bool) -> None:
        """Add the remaining words of a window that has ended. cut: the next one begins there, in speech."""
        if window.start != self._window:
            self._begin(window.start)
        if cut:
            self._newest = None  # it goes beyond the cut
        if cut or self._complete_until < min(window.end, self._windows.last_speech):
            beyond = await self._complete(window)
            if cut:
                self._begin(window.end, beyond)

    async def _complete(self, window: Window) -> Sequence[str]:
        """Add all words of a window. Return the words that were added before and are not in it: it was cut before the
        last words that were heard."""
        heard = self._newest if self._looked_until >= self._windows.last_speech else None
        known = self._agreement.words
        words, beyond = known, known[:0]
        try:
            heard = heard or await self._transcribe(window)
        except ParleyError as error:
            code = "stt_failed" if isinstance(error, EngineError) else error.code
            await self._emit(Failed(code, error.message))
        else:
            words = heard.text.split()
            beyond = following(words, known)
            await self._add(following(known, words), heard, window.end)
        self._complete_until = window.end
        self._agreement = LocalAgreement([*words, *beyond])
        return beyond

    async def _transcribe(self, window: Window) -> Transcript:
        clip = Clip(window.samples, RATE_HZ)
        with metrics.stage("stt"):
            heard = await stt.in_time(self._engine, clip, language=self._language, prompt=None)
        metrics.TRANSCRIBED.inc(clip.seconds)
        return Transcript(encodable(heard.text), heard.language, heard.duration_s, heard.language_probability)

    async def _add(self, words: Sequence[str], heard: Transcript, until: int) -> None:
        if not words:
            return
        known = self._language or (heard.language if heard.language_probability >= CERTAIN else None)
        self._language_now = known
        until_ms = self._ms(until)
        text = " ".join(words)
        await self._emit(SourceDelta(separator(self._last, text) + text, until_ms))
        self._last = words[-1]
        for clause in self._cutter.add(words, known):
            await self._release(SourceClause(clause, known, until_ms))

    async def _flush(self) -> None:
        if rest := self._cutter.finish():
            await self._release(SourceClause(rest, self._language_now, self._ms(self._complete_until)))

    def _ms(self, position: int) -> float:
        """Return the position in the speaker's sound, in ms. It never goes back: a window can end before the last words
        that were heard."""
        self._reached_ms = max(self._reached_ms, milliseconds(position - self._inserted))
        return self._reached_ms
