"""Spoken questions for the tests, from eSpeak NG and from the included samples."""

from functools import cache

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.settings import HOME
from tests.models.training.synthesize import trim
from tests.speech import Espeak

SUM, SUM_ANSWER = "what is five plus six", "11"


@cache
def spoken(text: str, voice: str = "en-us+f2") -> Clip:
    """Return `text` as speech at 16 kHz with a little silence around it."""
    return Clip(np.pad(trim(Espeak().say(text, voice)), 4_000), 16_000)


def sample(name: str) -> bytes:
    """Return one of the included questions as a WAV file."""
    return (HOME / "audios" / "samples" / f"{name}.wav").read_bytes()
