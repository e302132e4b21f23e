"""Playback of a reply: sends its audio paced, held or faded, and tracks the listener's position.

Audio is sent in frames of 40 ms, at most `lead_ms` ahead of real time, so audio that was not sent was not heard.
"""

import asyncio
from collections.abc import Callable

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.conversation.timeline import Span, Timeline

FRAME_MS = 40
TICK_MS = 0.5
"""Shorter waits are skipped, because the clock is not that exact."""
FADE_MS = 20
"""Duration of the fade before a stop, because an abrupt stop clicks."""

Send = Callable[[Clip, Span], None]
"""Sends one frame to the transport; must not block."""


class _Sound:
    """Samples that grow at the end; the capacity doubles, so that adding a long reply in small chunks stays cheap."""

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
        """Drop the samples, keep only the length."""
        self._room = self._room[:0].copy()

    def part(self, start: int, size: int) -> Samples:
        return self._room[start : min(start + size, self._used)]


class Playback:
    """Plays one reply. `run()` sends; the other methods can be called meanwhile, from the same event loop."""

    def __init__(self, send: Send, *, lead_ms: float, fades: bool = True) -> None:
        """fades: whether to send a fade before a stop. A transport that itself stops its sound would play it when it
        continues."""
        self._send = send
        self._lead_ms, self._fades = lead_ms, fades
        self.timeline = Timeline()
        """Record of the audio sent; outlives the playback in the conversation."""
        self._source = _Sound()
        self._next = 0
        """Index of the next source sample to send."""
        self._base_ms, self._since = 0.0, 0.0
        """The listener was at `base_ms` of the timeline at loop time `since`, and plays on from there."""
        self._held = self._stopped = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def sent_ms(self) -> float:
        """Duration of the audio sent."""
        return self.timeline.sent_ms

    @property
    def audible(self) -> bool:
        """Whether the listener hears audio now."""
        return self.played_ms() < self.sent_ms

    def add(self, clip: Clip, span: Span) -> None:
        """Add the next chunk of the reply's audio, and the span of the reply's characters that it speaks."""
        self.timeline.rate_hz = self.timeline.rate_hz or clip.rate_hz
        start = len(self._source)
        self._source.add(clip.at(self.timeline.rate_hz).samples)
        self.timeline.spoken(span, start, len(self._source))
        self._changed.set()

    def complete(self) -> None:
        """Mark the reply's audio as complete."""
        self.timeline.complete = True
        self._changed.set()

    def hold(self) -> None:
        """Stop sending, with a fade; `resume()` continues from the same position without loss."""
        if not self._held and not self._stopped:
            self._held = True
            self._fade_out()

    def resume(self) -> None:
        """Continue after `hold()`."""
        self._held = False
        self._changed.set()

    def stop(self) -> None:
        """Stop for good, with a fade if audio was playing; `run()` returns."""
        if not self._held and not self._stopped:
            self._fade_out()
        self._stopped = True
        self._changed.set()

    def forget(self) -> None:
        """Drop the audio after the reply has ended; keep the timeline of its words."""
        self._source.forget()

    def played_ms(self) -> float:
        """Return the listener's position by the clock: never beyond the audio sent."""
        return min(self.sent_ms, self._base_ms + (self._loop.time() - self._since) * 1000)

    def report(self, played_ms: float) -> None:
        """Set the listener's position as reported by the client; overrides the clock."""
        self._base_ms, self._since = max(0.0, min(played_ms, self.sent_ms)), self._loop.time()
        self._changed.set()

    def heard_text(self, reply: str) -> str:
        """Return the part of `reply` that was heard so far, to the word."""
        return self.timeline.heard_text(reply, self.played_ms())

    async def run(self) -> None:
        """Send until everything is played, or `stop()` is called."""
        while not self._stopped:
            self._changed.clear()
            frame = None if self._held else self._frame()
            if frame is None:
                if self.timeline.complete and not self._held and self._next >= len(self._source):
                    left_ms = self.sent_ms - self.played_ms()
                    if left_ms <= TICK_MS:
                        return
                    await self._wait(left_ms)
                else:
                    await self._changed.wait()
                continue
            ahead_ms = self.sent_ms - self.played_ms() + FRAME_MS - self._lead_ms
            if ahead_ms > TICK_MS:
                await self._wait(ahead_ms)
                continue
            self._transmit(frame, self._next)
            self._next += len(frame)

    def _frame(self) -> Samples | None:
        """Return the next frame, complete unless it is the last; None when it is not available yet."""
        if self._next >= len(self._source):
            return None
        size = self.timeline.rate_hz * FRAME_MS // 1000
        frame = self._source.part(self._next, size)
        return frame if len(frame) == size or (self.timeline.complete and len(frame)) else None

    def _transmit(self, frame: Samples, source: int) -> None:
        if self.played_ms() >= self.sent_ms:  # the listener had run out of audio: restart the clock with this frame
            self._base_ms, self._since = self.sent_ms, self._loop.time()
        self.timeline.sent(source, len(frame))
        self._send(Clip(frame, self.timeline.rate_hz), self.timeline.span_at(source))

    def _fade_out(self) -> None:
        """Send the next 20 ms with a fade. They are not consumed: after a hold they are sent again, in full."""
        frame = self._source.part(self._next, self.timeline.rate_hz * FADE_MS // 1000)
        if self._fades and len(frame) and self.sent_ms:
            self._transmit(frame * np.linspace(1, 0, len(frame), dtype=np.float32), self._next)

    async def _wait(self, ms: float) -> None:
        """Wait until this time has passed or the state has changed."""
        try:
            async with asyncio.timeout(ms / 1000):
                await self._changed.wait()
        except TimeoutError:
            pass
