"""Spoken questions for the tests, from eSpeak NG in this process and from the samples that ship."""

from functools import cache

import numpy as np

from pipeline.audio import Clip
from pipeline.settings import HOME
from pipeline.tts.espeak_engine import Espeak

SUM, SUM_ANSWER = "what is seven plus five", "12"


@cache
def spoken(text: str, voice: str = "en-us+f2") -> Clip:
    """Somebody saying `text`, 16 kHz, with a little silence around it."""
    clips = list(Espeak(None).speak(text, voice, 160, 50))
    pause = Clip(np.zeros(4_000, np.float32), 16_000)
    return Clip.join([pause, *clips, pause], 16_000)


def sample(name: str) -> bytes:
    """A recorded question of ours, as a WAV file."""
    return (HOME / "audios" / "samples" / f"{name}.wav").read_bytes()
