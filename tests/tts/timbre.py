"""The timbre of a voice, whatever it says: enough to distinguish random models' voices."""

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.clip import Clip

Timbre = NDArray[np.floating]


def timbre(clip: Clip) -> Timbre:
    """The long-term spectrum in decibels: a random model babbles, but with the timbre of its voice."""
    frames = np.lib.stride_tricks.sliding_window_view(clip.samples, 1024)[::512]
    power = (np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) ** 2).mean(axis=0)
    bands = np.array([band.mean() for band in np.array_split(power, 64)])
    return 10 * np.log10(bands + 1e-12)


def distance(one: Timbre, other: Timbre) -> float:
    """Root mean square, in decibels."""
    return float(np.sqrt(np.mean((one - other) ** 2)))
