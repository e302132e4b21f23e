"""The reply's sound on its way out: paced, held, faded, and what of it was heard by when.

Sound leaves in frames of 40 ms, at most `lead_ms` ahead of real time, so what was not sent was not heard. Source
positions are samples of the reply as it was synthesised; timeline positions are milliseconds of sound sent.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.audio import Clip, Samples

FRAME_MS = 40
TICK_MS = 0.5
"""Waits shorter than this are none: no clock is that exact."""
FADE_MS = 20
"""A stop in mid-sound clicks; so the last thing sent before one fades out."""

CHARACTERS_PER_S = 15.0
"""How fast a voice reads, as long as this reply has not shown it: eSpeak, XTTS and pocket-tts say 13 to 17."""

Span = tuple[int, int]
Send = Callable[[Clip, Span], None]
"""Takes one frame for the transport; must not block."""


@dataclass(slots=True)
class _Clause:
    """Where the sound of a clause is: [start, end) in source samples; `end` grows while it is synthesised."""

    span: Span
    start: int
    end: int


@dataclass(slots=True)
class _Sent:
    """Sound that left in one piece: where it lies on the timeline and where it came from.

    Frames that follow each other are one piece: a conversation keeps this for each of its replies.
    """

    at_ms: float
    length_ms: float
    source: int
    samples: int


class _Sound:
    """Samples that grow at the end; room is doubled, so that adding a long reply in small pieces stays cheap."""

    def __init__(self) -> None:
        self._room = np.zeros(2**16, np.float32)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, samples: Samples) -> None:
        end = self._used + len(samples)
        if end > len(self._room):
            self._room = np.concatenate([self._room, np.zeros(max(end, len(self._room)), np.float32)])
        self._room[self._used : end] = samples
        self._used = end

    def forget(self) -> None:
        """Only the length is kept."""
        self._room = self._room[:0].copy()

    def part(self, start: int, size: int) -> Samples:
        return self._room[start : min(start + size, self._used)]


class Playback:
    """One reply. `run()` sends; the other methods may be called meanwhile, from the same event loop."""

    def __init__(self, send: Send, *, lead_ms: float) -> None:
        self._send = send
        self._lead_ms = lead_ms
        self._rate_hz = 0
        self._source = _Sound()
        self._clauses: list[_Clause] = []
        self._sent: list[_Sent] = []
        self._next = 0
        """Source sample that is sent next."""
        self._sent_ms = 0.0
        self._base_ms, self._since = 0.0, 0.0
        """The listener was at `base_ms` of the timeline at loop time `since`, and plays on from there."""
        self._held = self._complete = self._stopped = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def sent_ms(self) -> float:
        """How much sound has left."""
        return self._sent_ms

    @property
    def audible(self) -> bool:
        """Whether the listener hears something now."""
        return self.played_ms() < self._sent_ms

    def add(self, clip: Clip, span: Span) -> None:
        """The next piece of the reply's sound, and the characters of the reply that it speaks."""
        self._rate_hz = self._rate_hz or clip.rate_hz
        samples = clip.at(self._rate_hz).samples
        start = len(self._source)
        self._source.add(samples)
        if self._clauses and self._clauses[-1].span == span:
            self._clauses[-1].end = len(self._source)
        else:
            self._clauses.append(_Clause(span, start, len(self._source)))
        self._changed.set()

    def complete(self) -> None:
        """All sound of the reply was added."""
        self._complete = True
        self._changed.set()

    def hold(self) -> None:
        """Stop sending, with a fade; `resume()` goes on from the same place, nothing is lost."""
        if not self._held and not self._stopped:
            self._held = True
            self._fade_out()

    def resume(self) -> None:
        """Go on after `hold()`."""
        self._held = False
        self._changed.set()

    def stop(self) -> None:
        """Send no more: with a fade if sound was on its way, and `run()` returns."""
        if not self._held and not self._stopped:
            self._fade_out()
        self._stopped = True
        self._changed.set()

    def forget(self) -> None:
        """The reply is over: keep where its words were heard, not its sound."""
        self._source.forget()

    def played_ms(self) -> float:
        """How far the listener is, by the clock: never further than what was sent."""
        return min(self._sent_ms, self._base_ms + (self._loop.time() - self._since) * 1000)

    def report(self, played_ms: float) -> None:
        """The client says how much it has really played: this overrides the clock."""
        self._base_ms, self._since = max(0.0, min(played_ms, self._sent_ms)), self._loop.time()
        self._changed.set()

    def heard_text(self, reply: str, played_ms: float | None = None) -> str:
        """What of `reply` was heard when `played_ms` (None: now) had been played: whole clauses, and of the one in play
        the words up to the played share of its sound.
        """
        position = self._source_at(self.played_ms() if played_ms is None else played_ms)
        heard = 0
        for clause in self._clauses:
            share = (position - clause.start) / self._length(clause)
            if share >= 1:
                heard = clause.span[1]
                continue
            if share > 0:
                heard = clause.span[0] + _whole_words(reply[clause.span[0] : clause.span[1]], share)
            break
        return reply[:heard].strip()

    def _length(self, clause: _Clause) -> float:
        """Samples of a clause. Of the one that is still being synthesised, what is to be expected: a slow voice's
        listener has heard all there is of it, and yet not all of its words.
        """
        length = clause.end - clause.start
        if self._complete or clause is not self._clauses[-1]:
            return max(1, length)
        characters = sum(done.span[1] - done.span[0] for done in self._clauses[:-1])
        per_character = clause.start / characters if characters else self._rate_hz / CHARACTERS_PER_S
        return max(1, length, per_character * (clause.span[1] - clause.span[0]))

    async def run(self) -> None:
        """Send until everything is played, or `stop()`."""
        while not self._stopped:
            self._changed.clear()
            frame = None if self._held else self._frame()
            if frame is None:
                if self._complete and not self._held and self._next >= len(self._source):
                    left_ms = self._sent_ms - self.played_ms()
                    if left_ms <= TICK_MS:
                        return
                    await self._wait(left_ms)
                else:
                    await self._changed.wait()
                continue
            ahead_ms = self._sent_ms - self.played_ms() + FRAME_MS - self._lead_ms
            if ahead_ms > TICK_MS:
                await self._wait(ahead_ms)
                continue
            self._transmit(frame, self._next)
            self._next += len(frame)

    def _frame(self) -> Samples | None:
        """The next frame, whole unless it is the last; None when there is none yet."""
        if self._next >= len(self._source):
            return None
        size = self._rate_hz * FRAME_MS // 1000
        frame = self._source.part(self._next, size)
        return frame if len(frame) == size or (self._complete and len(frame)) else None

    def _transmit(self, frame: Samples, source: int) -> None:
        played = self.played_ms()
        if played >= self._sent_ms:  # the listener had run dry: the clock starts anew with this frame
            self._base_ms, self._since = self._sent_ms, self._loop.time()
        length_ms = len(frame) * 1000 / self._rate_hz
        last = self._sent[-1] if self._sent else None
        if last is not None and last.source + last.samples == source:
            last.samples += len(frame)
            last.length_ms += length_ms
        else:
            self._sent.append(_Sent(self._sent_ms, length_ms, source, len(frame)))
        self._sent_ms += length_ms
        self._send(Clip(frame, self._rate_hz), self._span_at(source))

    def _fade_out(self) -> None:
        """The next 20 ms, fading. They are not consumed: after a hold they are sent again, in full."""
        frame = self._source.part(self._next, self._rate_hz * FADE_MS // 1000)
        if len(frame) and self._sent:
            self._transmit(frame * np.linspace(1, 0, len(frame), dtype=np.float32), self._next)

    def _span_at(self, source: int) -> Span:
        index = bisect_right(self._clauses, source, key=lambda clause: clause.start) - 1
        return self._clauses[index].span

    def _source_at(self, played_ms: float) -> float:
        """The source sample that is played at a place of the timeline."""
        index = bisect_right(self._sent, played_ms, key=lambda sent: sent.at_ms) - 1
        if index < 0:
            return 0.0
        sent = self._sent[index]
        return sent.source + sent.samples * min(1.0, (played_ms - sent.at_ms) / sent.length_ms)

    async def _wait(self, ms: float) -> None:
        """Until that much time has passed or something has changed."""
        try:
            async with asyncio.timeout(ms / 1000):
                await self._changed.wait()
        except TimeoutError:
            pass


_WORD = re.compile(r"\S+")


def _whole_words(text: str, share: float) -> int:
    """Characters of `text` up to the last word that lies within `share` of it."""
    limit = share * len(text)
    return max((word.end() for word in _WORD.finditer(text) if word.end() <= limit), default=0)
