"""How late a model is for users who wait in silence."""

import time
from collections.abc import Callable

WEIGHT = 0.2
"""Weight of the newest wait in the moving mean: about five calls determine it."""
HALF_S = 5.0
"""Half-life of the mean while there are no calls, in seconds, so that new conversations are accepted again soon."""


class Lag:
    """A moving mean of waits, in seconds, that decays while there are no calls."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mean_s = 0.0
        self._at = clock()

    def note(self, waited_s: float) -> None:
        """Record that a call waited `waited_s`."""
        mean_s = self.seconds
        self._at = self._clock()
        self._mean_s = mean_s + WEIGHT * (waited_s - mean_s)

    @property
    def seconds(self) -> float:
        """The current mean."""
        return float(self._mean_s * 0.5 ** ((self._clock() - self._at) / HALF_S))
