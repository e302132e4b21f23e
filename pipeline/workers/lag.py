"""How late a model is for those who wait in silence."""

import time
from collections.abc import Callable

WEIGHT = 0.2
"""Of the newest wait in the moving mean: some five calls say how it is."""
HALF_S = 5.0
"""What was waited is half forgotten after so long: whoever is refused for it shall be let in when it is over."""


class Lag:
    """A moving mean of waits, in seconds, that fades while nobody waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mean_s = 0.0
        self._at = clock()

    def note(self, waited_s: float) -> None:
        """A call waited so long."""
        mean_s = self.seconds
        self._at = self._clock()
        self._mean_s = mean_s + WEIGHT * (waited_s - mean_s)

    @property
    def seconds(self) -> float:
        """As it is now."""
        return float(self._mean_s * 0.5 ** ((self._clock() - self._at) / HALF_S))
