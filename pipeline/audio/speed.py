"""Change the speed of speech without changing its pitch."""

from fractions import Fraction

import numpy as np

from pipeline.audio.clip import Samples

MIN_SPEED, MAX_SPEED = 0.25, 4.0


class Tempo:
    """Change the speed without changing the pitch, by FFmpeg's `atempo` (WSOLA)."""

    def __init__(self, rate_hz: int, speed: float) -> None:
        """speed: MIN_SPEED to MAX_SPEED."""
        import av

        self._av, self.rate_hz = av, rate_hz
        self._graph = av.filter.Graph()
        nodes = [self._graph.add_abuffer(sample_rate=rate_hz, format="flt", layout="mono", time_base=_ticks(rate_hz))]
        # One filter slows down without an echo only to half the speed.
        for factor in (speed**0.5, speed**0.5) if not 0.5 <= speed <= 2.0 else (speed,):
            nodes.append(self._graph.add("atempo", f"{factor:.6f}"))
        nodes.append(self._graph.add("aformat", "sample_fmts=flt:channel_layouts=mono"))
        nodes.append(self._graph.add("abuffersink"))
        self._graph.link_nodes(*nodes).configure()
        self._pts = 0

    def feed(self, samples: Samples) -> Samples:
        """Return the audio that is ready; some 50 ms are held back until more arrives."""
        if not len(samples):
            return samples
        frame = self._av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = self.rate_hz, self._pts
        frame.time_base = _ticks(self.rate_hz)
        self._pts += len(samples)
        self._graph.push(frame)
        return self._pull()

    def finish(self) -> Samples:
        """Return the rest."""
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> Samples:
        parts = [np.zeros(0, np.float32)]
        while True:
            try:
                parts.append(self._graph.pull().to_ndarray().reshape(-1).astype(np.float32, copy=False))
            except (BlockingIOError, EOFError):  # PyAV's errors for "not yet" and "end" derive from these
                return np.concatenate(parts)


def _ticks(rate_hz: int) -> Fraction:
    """Return the time base that counts samples."""
    return Fraction(1, rate_hz)
