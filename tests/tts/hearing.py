"""Whisper as the listener of speech tests."""

import functools
from typing import Any

import soxr

from pipeline.audio.clip import Clip
from tests.real_models import real_model


@functools.cache
def _whisper() -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(str(real_model("whisper-tiny.en")), device="cpu", compute_type="int8", cpu_threads=1)


def heard(clip: Clip) -> str:
    """Return the English words that Whisper tiny.en hears, in lower case without punctuation."""
    samples = soxr.resample(clip.samples, clip.rate_hz, 16_000)
    segments, _ = _whisper().transcribe(samples, language="en", beam_size=1, condition_on_previous_text=False)
    text = " ".join(segment.text for segment in segments).lower()
    return " ".join("".join(char if char.isalnum() or char == "'" else " " for char in text).split())
