"""Timeouts of a live conversation: audio that stops arriving, and a user who stays silent."""

import asyncio
from enum import Enum, auto

from pipeline.conversation.states import Answering, Hearing, Listening, Paused, State, UserTurn
from pipeline.errors import ParleyError
from pipeline.listening.options import LiveOptions

STALLED_S = 2.0
"""Seconds without any audio, while it is needed, after which the microphone counts as switched off."""
LOOK_S = STALLED_S / 4
"""Interval of the checks, in seconds."""


class IdleTimeout(ParleyError):
    """The conversation had no activity for IDLE_TIMEOUT_S."""

    code = "idle_timeout"

    def __init__(self) -> None:
        super().__init__("The conversation was silent for too long and is closed.")


class Finding(Enum):
    """A problem of a conversation."""

    NOTHING = auto()
    STALLED = auto()
    """An utterance or a claim is pending, and no audio arrives."""
    SILENT = auto()
    """No activity for idle_prompt_s: ask whether the user is still there."""
    LEFT = auto()
    """No activity for IDLE_TIMEOUT_S: close the conversation."""


class Watchdog:
    """The clocks of one conversation that run without audio. Times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._active_at = self._loop.time()
        self._prompted = False
        self.active_ms = 0.0
        """End of the last speech, on the clock of the user's audio."""

    def heard(self) -> None:
        """Record that audio has arrived, whatever it contains."""
        self._heard_at = self._loop.time()

    def spoke(self, at_ms: float) -> None:
        """Record that the user is speaking."""
        self.active(at_ms)
        self._prompted = False

    def active(self, at_ms: float | None = None) -> None:
        """Record activity: a request or a reply. at_ms: its position on the clock of the user's audio; None: without
        audio."""
        self._active_at = self._loop.time()
        if at_ms is not None:
            self.active_ms = at_ms

    def finds(self, state: State, options: LiveOptions) -> Finding:
        """Return the current problem; SILENT only once, until the user speaks."""
        now = self._loop.time()
        stalled = now - self._heard_at >= STALLED_S
        idle_s = now - self._active_at
        left = bool(options.idle_timeout_s) and idle_s >= options.idle_timeout_s
        match state:
            case Hearing() | Paused() if stalled and options.turn_detection:
                return Finding.STALLED
            case Hearing() | Paused() | Listening() if left:
                return Finding.LEFT  # also if the push-to-talk key is pressed but the user has not spoken since
            case Listening() if options.idle_prompt_s and idle_s >= options.idle_prompt_s and not self._prompted:
                self._prompted = True
                return Finding.SILENT
            case Answering(holding=True) | Answering(hears=UserTurn()) if stalled:
                return Finding.STALLED
            case _:
                return Finding.NOTHING
