"""Find speech in a clip: Silero VAD, the ONNX model inside faster-whisper.

Cheap enough for the main process (about 3 ms per second of audio on one core) and without torch. onnxruntime is
imported by the first call, which takes about 0.2 s once.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.audio.clip import Clip, Samples

RATE_HZ = 16_000
"""Sample rate of the model's training data."""
THRESHOLD = 0.5
"""Speech probability above which a frame of 32 ms starts a span; Silero's own default."""
MIN_SPEECH_MS = 96
"""Three frames: a click is shorter, "no" is longer."""
MIN_SILENCE_MS = 300
"""Shorter pauses stay inside a span."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch with speech, in samples at RATE_HZ: [start, end)."""

    start: int
    end: int


def speech_spans(samples: Samples) -> list[Span]:
    """Return the spans with speech, in order, without padding; empty if there is no speech.

    samples: float32 mono at RATE_HZ, shape (n,). Blocking: some 3 ms per second of audio.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # takes 0.2 s, and not every process needs it

    if not len(samples):
        return []
    options = VadOptions(
        threshold=THRESHOLD,
        min_speech_duration_ms=MIN_SPEECH_MS,
        min_silence_duration_ms=MIN_SILENCE_MS,
        speech_pad_ms=0,
    )
    clean = np.ascontiguousarray(samples, np.float32)
    return [Span(int(found["start"]), int(found["end"])) for found in get_speech_timestamps(clean, options)]


def has_speech(clip: Clip) -> bool:
    """Whether the clip contains speech (any rate)."""
    return bool(speech_spans(clip.at(RATE_HZ).samples))


def trim(clip: Clip, pad_ms: int) -> tuple[Clip, float]:
    """Cut the clip from `pad_ms` before the first speech to `pad_ms` after the last, at RATE_HZ; pauses inside stay.

    Returns the shorter clip and its start in the given one, in seconds; an empty clip if there is no speech.
    """
    sound = clip.at(RATE_HZ)
    spans = speech_spans(sound.samples)
    if not spans:
        return Clip(np.zeros(0, np.float32), RATE_HZ), 0.0
    pad = pad_ms * RATE_HZ // 1000
    start = max(0, spans[0].start - pad)
    return Clip(sound.samples[start : spans[-1].end + pad], RATE_HZ), start / RATE_HZ
