"""A telephone call: a live conversation whose replies are played on a line."""

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode.mixing import Offset
from pipeline.audio.stream_resampler import RateConverter
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.options import LiveOptions
from server.access.limits import Share
from server.parameters import system_prompt

DIGITS_S = 2.0
"""Pause after a digit that ends a number, in seconds."""
END_OF_DIGITS = "#"
MAX_DIGITS = 64
KEYS = frozenset("0123456789*#ABCD")
"""The keys of DTMF."""
KEY_S = 0.08
"""Shortest tone and pause of a key, in seconds (ITU-T Q.24: 40 ms each)."""
MAX_AHEAD_S = 10.0
"""How much more sound than time, and more keys, may arrive, in seconds: after a stall of the network they come at once.
More is dropped."""


class Line(Protocol):
    """Plays the replies of a call. No method waits."""

    @property
    def played_ms(self) -> float:
        """Duration of the current reply's sound that the user has heard."""

    def begin(self) -> None:
        """Begin the sound of another reply."""

    def play(self, clip: Clip) -> bool:
        """Add sound to the reply, some of it ahead of time; False if the line is too slow for it."""

    def hold(self) -> None:
        """Be silent at once; `resume` continues with the sound that was not heard."""

    def resume(self) -> None:
        """Continue after `hold`."""

    def cut(self) -> None:
        """Be silent at once, and drop the rest of the reply."""

    def end(self) -> None:
        """Complete the sound of a reply."""

    def close(self, error: BaseException | None = None) -> None:
        """End the line, because the conversation has ended. error: the reason."""


class Ahead:
    """The time by which what has arrived is ahead of the clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ahead_s, self._since = 0.0, self._loop.time()

    def takes(self, seconds: float) -> bool:
        """Add this much; return False instead if MAX_AHEAD_S are reached."""
        now = self._loop.time()
        self._ahead_s, self._since = max(0.0, self._ahead_s - (now - self._since)), now
        if self._ahead_s > MAX_AHEAD_S:
            return False
        self._ahead_s += seconds
        return True


class Call:
    """One call. Enter it with `async with`, then pass it the user's sound and keys."""

    def __init__(
        self,
        assistant: Assistant,
        line: Line,
        *,
        lead_ms: int,
        room: Share,
        voice: str | None = None,
        language: str | None = None,
        system: str | None = None,
    ) -> None:
        """lead_ms: how far ahead of real time the line gets its sound. room: see `Session`. voice, language, system:
        those of this call, instead of the deployment's. Raises BadInput."""
        # Calls are not kept where RECORD is on, because their users are not informed; and they show no partials.
        options = replace(LiveOptions.of(assistant.settings), lead_ms=lead_ms, partial_ms=0)
        self.session = assistant.session(
            options,
            assistant.conversation(system_prompt(system)),
            voice=assistant.voice(voice),
            language=assistant.recognisers.heard_language(language),
            sink=self,
            fades=False,
            room=room,
        )
        self._line = line
        self._converter, self._offset = RateConverter(RATE_HZ), Offset(RATE_HZ)
        self._loop = asyncio.get_running_loop()
        self._sound_ahead, self._keys_ahead = Ahead(), Ahead()
        self._digits = ""
        self._pause: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self.session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pause is not None:
            self._pause.cancel()
        await self.session.close()

    # --- the user ---

    def hear(self, samples: Samples, rate_hz: int) -> None:
        """Process the user's next sound. samples: float32, at any rate."""
        if not self._sound_ahead.takes(len(samples) / rate_hz):
            return
        self.session.ear.narrow_band = rate_hz < RATE_HZ
        self.session.hear(self._offset.without(self._converter.take(Clip(samples, rate_hz))))

    def press(self, key: str) -> None:
        """Process a key of the telephone: stop a running reply, and collect the digits of a number until # or a pause.
        The number is then a message of the user."""
        if key not in KEYS or not self._keys_ahead.takes(KEY_S):
            return
        self.session.interrupt()
        if self._pause is not None:
            self._pause.cancel()
        if key == END_OF_DIGITS:
            # Later, after the report of what was heard of the reply that this key stops.
            self._loop.call_soon(self._dialled, self._digits or END_OF_DIGITS)
            return
        self._digits += key
        if len(self._digits) == MAX_DIGITS:
            self._dialled(self._digits)
        else:
            self._pause = self._loop.call_later(DIGITS_S, lambda: self._dialled(self._digits))

    def _dialled(self, number: str) -> None:
        self._digits = ""
        self.session.say(number)

    # --- the assistant: see `Sink` ---

    def offer(self, event: Event, /) -> bool:
        """Play an event of the session."""
        line = self._line
        match event:
            case events.TurnStarted():
                line.begin()
            case events.SpeechChunk(clip):
                return line.play(clip)
            case events.SpeechHeld():
                line.hold()
            case events.SpeechResumed():
                line.resume()
                self.heard()  # what the line has kept is still to be heard
            case events.TurnInterrupted() | events.TurnFailed():
                line.cut()
                self._loop.call_soon(self.session.played, line.played_ms)  # the session is in the middle of the change
            case events.TurnCompleted():
                line.end()
            case _:
                pass
        return True

    def close(self, error: BaseException | None = None) -> None:
        """End the line."""
        self._line.close(error)

    def heard(self) -> None:
        """Report to the session how much of the reply the user has heard."""
        self.session.played(self._line.played_ms)
