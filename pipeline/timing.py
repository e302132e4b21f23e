"""When what happened in a turn."""

import time
from collections.abc import Callable, Mapping

MARKS = ("transcript", "first_token", "first_clause", "first_audio", "reply_done", "speech_done")
"""In the order in which a turn reaches them: the transcript is final; the language model's first token; the first
clause went to the voice; its first sound came out; the reply is written to its end; and spoken to its end."""


class Timings:
    """Marks of one turn, in milliseconds since it started."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()
        self._marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Now is the first time that `name` (one of MARKS) happens; later calls change nothing."""
        if name not in MARKS:
            raise ValueError(name)
        self._marks.setdefault(name, (self._clock() - self._start) * 1000.0)

    def ms(self) -> Mapping[str, float]:
        """The marks that were reached, in ms rounded to a tenth."""
        return {name: round(value, 1) for name, value in self._marks.items()}
