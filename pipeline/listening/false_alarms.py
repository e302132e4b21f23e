"""The threshold for holding a reply, raised after false alarms: the reply's echo, noise, or a backchannel."""

from pipeline.listening.detector import RATE_HZ
from pipeline.listening.options import LiveOptions

MOST_STEPS = 4
CALMER_S = 10.0
"""Seconds without another false alarm after which the threshold falls by one step."""


class Wariness:
    """Counts claims that were not barge-ins. Positions are samples of the session's clock."""

    def __init__(self) -> None:
        self._steps, self._at = 0, 0

    def steps(self, now: int) -> int:
        """Return the number of steps; 0: no recent false alarms."""
        return max(0, self._steps - int((now - self._at) / (CALMER_S * RATE_HZ)))

    def hold_ms(self, now: int, options: LiveOptions) -> float:
        """Return the duration of speech that holds the reply: hold_ms; then interrupt_ms; then twice, four times and at
        most eight times backchannel_ms."""
        match self.steps(now):
            case 0:
                return options.hold_ms
            case 1:
                return max(options.hold_ms, options.interrupt_ms)
            case steps:
                return max(options.hold_ms, options.interrupt_ms, options.backchannel_ms << (steps - 1))

    def in_vain(self, now: int, *, held: bool) -> None:
        """Record a refused claim. held: the reply was held for it; only then the threshold rises by one step."""
        steps = self.steps(now)
        self._steps, self._at = (min(MOST_STEPS, steps + 1) if held else steps), now
