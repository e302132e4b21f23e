"""The size of Whisper that a machine carries at conversation speed, measured at the first start and kept on disk."""

import time
from collections.abc import Callable

from pipeline.audio.clip import Clip
from pipeline.settings import Settings
from pipeline.stt import SpeechToText
from pipeline.support import measurements
from pipeline.workers.hardware import Hardware

COSTS = {"tiny": 0.5, "base": 1.0, "small": 3.4, "large-v3-turbo": 18.0}
"""Size → seconds for a turn, as a multiple of base's; int8 on a CPU with a context of 10 s. Base and small are
measured, the others follow from their parameters."""
MAX_TURN_S = 0.4
"""Seconds for a turn of some 6 s of speech in which a conversation is still quick."""
MEASURE_S = 3.0
"""Seconds after which the measurement makes no further call."""
NAME = "whisper-size"
"""Name of the measurement."""


async def turn_s(stt: SpeechToText, clip: Clip) -> float:
    """Return the seconds that a recogniser needs for a clip: the least of several calls."""
    began = time.perf_counter()
    times: list[float] = []
    while not times or time.perf_counter() - began < MEASURE_S:
        start = time.perf_counter()
        await stt.transcribe(clip, language="en", prompt=None, words=False)
        times.append(time.perf_counter() - start)
    return min(times)


def largest(seconds: float, model: str, fits: Callable[[str], bool]) -> str:
    """Return the largest size that is quick enough, or the smallest. model: the measured size. fits: whether the memory
    suffices for a size."""
    base_s = seconds / COSTS[model]
    quick = [size for size, cost in COSTS.items() if cost * base_s <= MAX_TURN_S and fits(size)]
    return quick[-1] if quick else next(iter(COSTS))


def kept(settings: Settings, hardware: Hardware) -> str | None:
    """Return the size that was kept for this machine and these settings. Blocking."""
    size = measurements.kept(settings.models_dir, NAME, _conditions(settings, hardware))
    return size if isinstance(size, str) and size in COSTS else None


def keep(settings: Settings, hardware: Hardware, size: str) -> None:
    """Keep the size for this machine and these settings. Blocking."""
    measurements.keep(settings.models_dir, NAME, _conditions(settings, hardware), size)


def _conditions(settings: Settings, hardware: Hardware) -> str:
    """Name everything that the speed depends on."""
    return f"{hardware.summary}; {settings.whisper_device}, {settings.whisper_compute_type}"
