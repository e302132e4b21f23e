"""Means and variances of Kokoro's vocoder to expect of a clause, before the vocoder has computed it.

They differ from clause to clause, in the same way for all voices: `Forecast`, made by `bench.kokoro_statistics` from
clauses of many voices. On average they differ from voice to voice: `Expected`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.errors import EngineError
from pipeline.folders import HOME

FILE = HOME / "voices" / "kokoro" / "statistics.npz"
"""The forecast for Kokoro-82M v1.0."""
PITCHES_HZ = (10, 60, 80, 100, 120, 140, 160, 180, 200, 220, 250, 280, 320, 400, 10_000)
"""Limits of the classes of pitch. Below the first there is no voice."""
ENOUGH = 6
"""Clauses of a voice that are computed whole, for its average."""
FAR = 6.0
"""Distance of a clause from the average of its voice, in standard deviations, beyond which it is computed whole."""


def describe(features: Samples, pitch: Samples, durations: Samples, style: Samples) -> Samples:
    """Return what is known of a clause before the vocoder runs, shape (n,).

    features: the vocoder's input, shape (1, channels, steps). pitch: Hz, shape (1, 1, steps). durations: frames of each
    token; the first and the last are silence. style: of the voice, for as many tokens.
    """
    lengths = durations.ravel()
    frames = float(lengths.sum())
    silence = float(lengths[0] + lengths[-1]) / frames
    classes = np.digitize(pitch.ravel(), PITCHES_HZ[:-1])
    pitches = np.bincount(classes, minlength=len(PITCHES_HZ)) / classes.size
    shape = np.array([silence, silence**2, 1 / frames, np.log(frames)])
    by_channel = features[0]
    parts = [shape, pitches, style.ravel(), by_channel.mean(1), np.log(by_channel.var(1) + 1e-4)]
    return np.concatenate(parts, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Forecast:
    """How statistics follow from the description of a clause."""

    inputs: Samples
    """Weights of a description in its components, shape (n, components). Within a voice, components have variance 1."""
    outputs: Samples
    """Change of the statistics with each component, shape (components, statistics)."""

    @staticmethod
    def read(file: Path) -> "Forecast":
        """Return that in a file. Raises EngineError."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                return Forecast(stored["inputs"].astype(np.float32), stored["outputs"].astype(np.float32))
        except (OSError, ValueError, KeyError):
            raise EngineError(f"{file.name} of Kokoro's voices cannot be read.") from None


class Expected:
    """Statistics to expect of a voice's clauses: their average, changed as the forecast says."""

    def __init__(self, forecast: Forecast, average: Samples | None = None) -> None:
        """average: see `average`."""
        self._forecast = forecast
        self._average = np.zeros(sum(forecast.outputs.shape), np.float32) if average is None else average
        self._count = 0 if average is None else ENOUGH

    @staticmethod
    def read(file: Path, forecast: Forecast) -> "Expected":
        """Return those in a file that `bench.kokoro_statistics` wrote; none if it is missing. Raises EngineError."""
        if not file.exists():
            return Expected(forecast)
        try:
            average = np.load(file, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError):
            raise EngineError(f"The statistics of Kokoro's voice {file.stem} cannot be read.") from None
        if average.shape != (sum(forecast.outputs.shape),):
            raise EngineError(f"The statistics of Kokoro's voice {file.stem} are of another version.")
        return Expected(forecast, average)

    @property
    def average(self) -> Samples:
        """Average of the voice's clauses: components and statistics, shape (components + statistics,)."""
        return self._average

    def add(self, clause: Samples, statistics: Samples) -> None:
        """Add a clause, if more are needed. clause: its description."""
        if self._count < ENOUGH:
            self._count += 1
            row = np.concatenate([clause @ self._forecast.inputs, statistics])
            self._average = (self._average + (row - self._average) / self._count).astype(np.float32)

    def of(self, clause: Samples) -> Samples | None:
        """Return the statistics to expect of a clause; None if too little is known. clause: its description."""
        usual, average = np.split(self._average, [self._forecast.inputs.shape[1]])
        away = clause @ self._forecast.inputs - usual
        if self._count < ENOUGH or np.abs(away).max() > FAR:
            return None
        return (average + away @ self._forecast.outputs).astype(np.float32)
