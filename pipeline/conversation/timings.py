"""Times of a turn's stages."""

import time
from collections.abc import Callable, Mapping

MARKS = ("transcript", "first_token", "first_clause", "first_audio", "reply_done", "speech_done")
"""Names of the marks, in the order in which a turn reaches them: the transcript is final; the first token of the
language model; the first clause was passed to the voice; its first audio is ready; the reply's text is complete; its
speech is complete."""


class Timings:
    """Marks of one turn, in milliseconds since it started."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()
        self._marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Record the first time that `name` (one of MARKS) happens; later calls have no effect."""
        if name not in MARKS:
            raise ValueError(name)
        self._marks.setdefault(name, (self._clock() - self._start) * 1000.0)

    def ms(self) -> Mapping[str, float]:
        """Return the marks that were reached, in ms rounded to a tenth."""
        return {name: round(value, 1) for name, value in self._marks.items()}
