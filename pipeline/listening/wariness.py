"""How much it takes to hold a reply after it was held in vain: by its own echo, by noise, by a listener's "mhm"."""

from pipeline.listening.detector import RATE_HZ
from pipeline.listening.options import LiveOptions

MOST_STEPS = 4
CALMER_S = 10.0
"""After so long without another claim in vain it takes one step less."""


class Wariness:
    """Counts claims that were no interruption. Positions are samples of the session's clock."""

    def __init__(self) -> None:
        self._steps, self._at = 0, 0

    def steps(self, now: int) -> int:
        """0: nothing was in vain lately."""
        return max(0, self._steps - int((now - self._at) / (CALMER_S * RATE_HZ)))

    def hold_ms(self, now: int, options: LiveOptions) -> float:
        """Speech that holds the reply: HOLD_MS; then INTERRUPT_MS; then twice, four times and eight times
        BACKCHANNEL_MS, no more."""
        match self.steps(now):
            case 0:
                return options.hold_ms
            case 1:
                return max(options.hold_ms, options.interrupt_ms)
            case steps:
                return max(options.hold_ms, options.interrupt_ms, options.backchannel_ms << (steps - 1))

    def in_vain(self, now: int, *, held: bool) -> None:
        """A claim was refused. held: the reply was held for it: only then the next takes a step more."""
        steps = self.steps(now)
        self._steps, self._at = (min(MOST_STEPS, steps + 1) if held else steps), now
