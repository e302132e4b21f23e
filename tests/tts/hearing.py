"""Real weights for speech tests, and Whisper as their listener."""

import functools
from typing import Any

import pytest
import soxr

from pipeline.audio.clip import Clip
from pipeline.settings import HOME

MODELS = HOME / "models"
WHISPER = MODELS / "whisper-tiny.en"


def need(*names: str) -> None:
    """Skip the module if one of these folders of models/ is missing."""
    missing = [name for name in names if not (MODELS / name).is_dir()]
    if missing:
        pytest.skip(f"models/{missing[0]} is not installed", allow_module_level=True)


@functools.cache
def _whisper() -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(str(WHISPER), device="cpu", compute_type="int8", cpu_threads=1)


def heard(clip: Clip) -> str:
    """Return the English words that Whisper tiny.en hears, in lower case without punctuation."""
    samples = soxr.resample(clip.samples, clip.rate_hz, 16_000)
    segments, _ = _whisper().transcribe(samples, language="en", beam_size=1, condition_on_previous_text=False)
    text = " ".join(segment.text for segment in segments).lower()
    return " ".join("".join(char if char.isalnum() or char == "'" else " " for char in text).split())
