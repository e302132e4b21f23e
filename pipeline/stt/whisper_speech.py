"""The part of a clip that Whisper decodes: its speech, without the silence around it."""

from dataclasses import dataclass
from itertools import pairwise

from pipeline.audio.clip import Clip, Samples
from pipeline.listening.vad import speech_spans
from pipeline.stt import FileRequest
from pipeline.stt.whisper_model import WINDOW_S

RATE_HZ = 16_000
PAD_MS = 400
"""Silence kept around the speech; faster-whisper's default for its VAD."""
LONG_PAUSE_S = 2.0
"""Pauses of this length are cut out, because Whisper invents words in them."""


@dataclass(frozen=True, slots=True)
class Speech:
    """The part of a clip that contains speech."""

    sound: Samples
    """16 kHz; empty without speech."""
    start_s: float
    """Start of the speech in the clip."""
    duration_s: float
    """Length of the whole clip."""
    cut: bool
    """Whether it has pauses that must be cut out."""
    request: FileRequest

    @property
    def short(self) -> bool:
        """Whether one decoding of one window without times is enough."""
        return not self.cut and not self.request.words and len(self.sound) <= WINDOW_S * RATE_HZ


def speech_of(clip: Clip, request: FileRequest) -> Speech:
    """Find the speech of a clip."""
    sound = clip.at(RATE_HZ).samples
    spans = speech_spans(sound)
    if not spans:
        return Speech(sound[:0], 0.0, clip.seconds, False, request)
    pad = PAD_MS * RATE_HZ // 1000
    start = max(0, spans[0].start - pad)
    pauses = [(after.start - before.end) / RATE_HZ for before, after in pairwise(spans)]
    cut = max(pauses, default=0.0) > LONG_PAUSE_S
    return Speech(sound[start : spans[-1].end + pad], start / RATE_HZ, clip.seconds, cut, request)
