"""What happens when nothing happens: sound that does not come any more, a user who says nothing."""

import asyncio
from enum import Enum, auto

from pipeline.errors import ParleyError
from pipeline.listening.options import LiveOptions
from pipeline.listening.states import State

STALLED_S = 2.0
"""No sound at all for so long, where it is waited for, is a microphone that was switched off."""
LOOK_S = STALLED_S / 4
"""How often it is looked after."""


class IdleTimeout(ParleyError):
    """Nobody spoke for IDLE_TIMEOUT_S."""

    code = "idle_timeout"

    def __init__(self) -> None:
        super().__init__("Nobody spoke for a long time; the conversation is closed.")


class Finding(Enum):
    """What is wrong with a conversation."""

    NOTHING = auto()
    STALLED = auto()
    """More of an utterance is waited for, or of what may be an interruption, and no sound comes."""
    SILENT = auto()
    """Nobody has spoken for IDLE_PROMPT_S: ask whether somebody is there."""
    LEFT = auto()
    """Nobody has spoken for IDLE_TIMEOUT_S: close."""


class Watchdog:
    """The clocks of one conversation that no sound drives. Times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._active_at = self._loop.time()
        self._prompted = False
        self.active_ms = 0.0
        """Until when somebody spoke, on the clock of the user's sound."""

    def heard(self) -> None:
        """Sound has come, whatever it is."""
        self._heard_at = self._loop.time()

    def spoke(self, at_ms: float) -> None:
        """The user speaks."""
        self.active(at_ms)
        self._prompted = False

    def active(self, at_ms: float | None = None) -> None:
        """Something is asked, or answered. at_ms: until here, on the clock of the user's sound; None: not by sound."""
        self._active_at = self._loop.time()
        if at_ms is not None:
            self.active_ms = at_ms

    def finds(self, state: State, options: LiveOptions, *, holding: bool) -> Finding:
        """What is wrong now; SILENT only once, until the user speaks. holding: a reply waits for a decision."""
        now = self._loop.time()
        stalled = now - self._heard_at >= STALLED_S
        idle_s = now - self._active_at
        left = bool(options.idle_timeout_s) and idle_s >= options.idle_timeout_s
        match state:
            case State.HEARING | State.PAUSED if stalled and options.turn_detection:
                return Finding.STALLED
            case State.HEARING | State.PAUSED | State.LISTENING if left:
                return Finding.LEFT  # where a key was pressed, nobody has spoken since
            case State.LISTENING if options.idle_prompt_s and idle_s >= options.idle_prompt_s and not self._prompted:
                self._prompted = True
                return Finding.SILENT
            case State.ANSWERING if holding and stalled:
                return Finding.STALLED
            case _:
                return Finding.NOTHING
