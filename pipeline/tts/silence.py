"""Removal of silence and junk around a spoken clause while it streams."""

import numpy as np

from pipeline.audio.clip import Samples

LEAD_S = 0.01
"""Silence kept before the first sound."""
SENTENCE_PAUSE_S, CLAUSE_PAUSE_S = 0.25, 0.12
"""Silence kept after the last sound, so that clauses follow each other as in natural speech."""


_NOTHING: Samples = np.zeros(0, np.float32)


def pause_after(text: str) -> float:
    """Return the seconds of silence to keep after a text: more at the end of a sentence."""
    ends = text.rstrip("\"'”’»)] ").endswith((".", "!", "?", "…", "。", "？", "！"))
    return SENTENCE_PAUSE_S if ends else CLAUSE_PAUSE_S


class Trimmer:
    """Removes most of the silence around a stream of audio. A stream of only silence gives no output.

    Silence is held back until sound follows, so that nothing between two sounds is lost.
    """

    def __init__(
        self, rate_hz: int, pause_s: float, *, audible: float, junk_s: float = 0.0, junk_gap_s: float = 0.4
    ) -> None:
        """pause_s: silence kept at the end. audible: amplitude (0 to 1) from which a sample is sound. junk_s: sound at
        the very end is junk if it is shorter than this and follows at least junk_gap_s of silence; 0: never."""
        self._lead, self._pause = int(LEAD_S * rate_hz), int(pause_s * rate_hz)
        self._audible = audible
        self._junk, self._gap = int(junk_s * rate_hz), int(junk_gap_s * rate_hz)
        self._held = np.zeros(0, np.float32)  # since the last sound returned: silence, then perhaps the start of junk
        self._begun = False

    def push(self, piece: Samples) -> Samples:
        """Take the next chunk; return the audio that is certain to be kept, possibly empty."""
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
        """Return the pause after the last sound."""
        if not self._begun:
            return _NOTHING
        loud = np.flatnonzero(np.abs(self._held) > self._audible)
        return self._held[: min(self._pause, int(loud[0]) if len(loud) else len(self._held))]
