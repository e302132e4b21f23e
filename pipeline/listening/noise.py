"""Noise reduction: RNNoise (Xiph, BSD), as a library of the package pyrnnoise, which is not imported.

A recurrent network that attenuates bands of each 10 ms of sound at 48 kHz. It takes a tenth of a core or more for each
conversation, on the event loop, so it is off by default.
"""

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.audio.stream_resampler import StreamResampler
from pipeline.errors import EngineUnavailable
from pipeline.listening.detector import RATE_HZ, VoiceActivity, probabilities
from pipeline.support.installing import how_to_install

MODEL_HZ, MODEL_FRAME = 48_000, 480
SCALE = 32768.0
"""The network was trained on 16-bit samples."""
LIBRARIES = {"linux": "librnnoise.so", "darwin": "librnnoise.dylib", "win32": "rnnoise.dll"}
LATER = 496
"""Delay of the result in samples: of the network, and of both resamplers."""
_Floats = ctypes.POINTER(ctypes.c_float)


def available() -> bool:
    """Whether the library is installed."""
    return _library_file() is not None


def check() -> None:
    """Raise EngineUnavailable if the library is not installed."""
    if not available():
        raise EngineUnavailable(
            "RNNoise is not installed.", remedy=f"Install the extra `noise`: {how_to_install('noise')}."
        )


def _library_file() -> Path | None:
    spec = importlib.util.find_spec("pyrnnoise")
    if spec is None or not spec.origin:
        return None
    file = Path(spec.origin).parent / LIBRARIES.get(sys.platform, "")
    return file if file.is_file() else None


@functools.cache
def _library() -> ctypes.CDLL:
    """Load the library. Raises EngineUnavailable."""
    check()
    try:
        library = ctypes.CDLL(str(_library_file()))
    except OSError as error:
        raise EngineUnavailable(
            f"RNNoise cannot be loaded: {error}.", remedy=f"Reinstall the extra `noise`: {how_to_install('noise')}."
        ) from None
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    library.rnnoise_destroy.restype = None
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, _Floats, _Floats]
    return library


class NoiseFilter:
    """Reduces the noise of one stream at 16 kHz. The result is later than the input by LATER samples."""

    def __init__(self, strength: float) -> None:
        """Raises EngineUnavailable."""
        self.strength = strength
        """Share of the filtered sound in the result, from 0 to 1; can be changed at any time."""
        self._before = np.zeros(LATER, np.float32)
        self._library = _library()
        self._state = ctypes.c_void_p(self._library.rnnoise_create(None))
        self._up = StreamResampler(RATE_HZ, MODEL_HZ)
        self._down = StreamResampler(MODEL_HZ, RATE_HZ)
        self._waiting = np.zeros(0, np.float32)
        self._ready = np.zeros(0, np.float32)

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self._library.rnnoise_destroy(self._state)

    def reduced(self, frame: Samples) -> Samples:
        """Return the next frame, of the same length, with less noise."""
        sound = np.concatenate([self._waiting, self._up.take(frame)])
        count = len(sound) // MODEL_FRAME
        whole = np.ascontiguousarray(sound[: count * MODEL_FRAME] * np.float32(SCALE))
        self._waiting = sound[count * MODEL_FRAME :]
        for start in range(0, len(whole), MODEL_FRAME):
            part = whole[start:].ctypes.data_as(_Floats)
            self._library.rnnoise_process_frame(self._state, part, part)
        self._ready = np.concatenate([self._ready, self._down.take(whole / np.float32(SCALE))])
        missing = len(frame) - len(self._ready)
        if missing > 0:
            self._ready = np.concatenate([np.zeros(missing, np.float32), self._ready])
        reduced, self._ready = self._ready[: len(frame)], self._ready[len(frame) :]
        original = np.concatenate([self._before, frame])
        self._before = original[len(frame) :]
        return np.asarray(self.strength * reduced + (1 - self.strength) * original[: len(frame)], np.float32)


class FilteredActivity:
    """Voice activity in sound with less noise; the sound itself is not changed."""

    def __init__(self, activity: VoiceActivity) -> None:
        self._activity = activity
        self._filter: NoiseFilter | None = None

    def reduce(self, strength: float) -> None:
        """Reduce the noise from now on. strength: 0 to 1; 0: not at all. Raises EngineUnavailable."""
        if strength and self._filter is not None:
            self._filter.strength = strength
        else:
            self._filter = NoiseFilter(strength) if strength else None

    def probability(self, frame: Samples) -> float:
        return self._activity.probability(frame if self._filter is None else self._filter.reduced(frame))

    def probabilities(self, frames: Samples) -> Sequence[float]:
        if self._filter is not None:
            frames = np.stack([self._filter.reduced(frame) for frame in frames])
        return probabilities(self._activity, frames)

    def reset(self) -> None:
        self._activity.reset()
