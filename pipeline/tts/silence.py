"""Silence and junk around a spoken clause, taken away while it streams."""

import numpy as np

from pipeline.audio import Samples

LEAD_S = 0.01
"""Silence kept before the first sound."""
SENTENCE_PAUSE_S, CLAUSE_PAUSE_S = 0.25, 0.12
"""Silence kept after the last sound, so that one clause follows the other as in one breath."""


_NOTHING: Samples = np.zeros(0, np.float32)


def pause_after(text: str) -> float:
    """Seconds of silence to keep after a text: more at the end of a sentence."""
    ends = text.rstrip("\"'”’»)] ").endswith((".", "!", "?", "…", "。", "？", "！"))
    return SENTENCE_PAUSE_S if ends else CLAUSE_PAUSE_S


class Trimmer:
    """Sound in, piece by piece; the same sound out without most of the silence around it; nothing when all is silence.

    Silence is held back until sound follows it, so nothing between two sounds is lost.
    """

    def __init__(
        self, rate_hz: int, pause_s: float, *, audible: float, junk_s: float = 0.0, junk_gap_s: float = 0.4
    ) -> None:
        """pause_s: silence kept at the end. audible: amplitude (0 to 1) from which a sample is sound. junk_s: at the
        very end, sound shorter than this that comes after at least junk_gap_s of silence is junk; 0: nothing is."""
        self._lead, self._pause = int(LEAD_S * rate_hz), int(pause_s * rate_hz)
        self._audible = audible
        self._junk, self._gap = int(junk_s * rate_hz), int(junk_gap_s * rate_hz)
        self._held = np.zeros(0, np.float32)  # since the last sound that left: silence, then perhaps junk's beginning
        self._begun = False

    def push(self, piece: Samples) -> Samples:
        """Take the next piece; give what is surely to be heard by now, possibly nothing."""
        self._held = held = np.concatenate([self._held, piece])
        loud = np.flatnonzero(np.abs(held) > self._audible)
        if not len(loud):
            return _NOTHING
        first, end = int(loud[0]), int(loud[-1]) + 1
        if self._begun and first >= self._gap and end - first < self._junk:
            return _NOTHING
        start = 0 if self._begun else max(0, first - self._lead)
        self._held, self._begun = held[end:], True
        return held[start:end]

    def finish(self) -> Samples:
        """The pause after the last sound."""
        if not self._begun:
            return _NOTHING
        loud = np.flatnonzero(np.abs(self._held) > self._audible)
        return self._held[: min(self._pause, int(loud[0]) if len(loud) else len(self._held))]
