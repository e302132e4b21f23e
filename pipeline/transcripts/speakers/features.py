"""Features for the voice encoder: 40 mel bands of 25 ms windows every 10 ms, as in `librosa.feature.melspectrogram`
(Slaney's scale and norm, power spectrum, zero padding), without librosa."""

import functools

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import Samples

RATE_HZ = 16_000
WINDOW, HOP, BANDS = 400, 160, 40
LEAST_DBFS = -30.0
"""Quieter audio is raised to this loudness (RMS); louder audio is unchanged."""

Matrix = npt.NDArray[np.float32]


def log_free_mel(samples: Samples) -> Matrix:
    """Return mel power, shape (frames, 40), not logarithmic, as in the encoder's training. samples: mono at RATE_HZ,
    shape (n,)."""
    loudness = float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
    wanted = 10 ** (LEAST_DBFS / 20)
    if 0 < loudness < wanted:
        samples = samples * np.float32(wanted / loudness)
    padded = np.pad(samples, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    return (power @ _filters().T).astype(np.float32)


@functools.cache
def _filters() -> npt.NDArray[np.float64]:
    """Return triangles of equal area on Slaney's mel scale: linear to 1 kHz, logarithmic above (Auditory Toolbox,
    1998)."""
    step, knee_hz, log_step = 200.0 / 3, 1000.0, np.log(6.4) / 27

    def hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(mel < knee_hz / step, mel * step, knee_hz * np.exp(log_step * (mel - knee_hz / step)))

    top = knee_hz / step + np.log(RATE_HZ / 2 / knee_hz) / log_step
    edges = hz(np.linspace(0.0, top, BANDS + 2))
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None])
