"""Generator of the sample questions in audios/samples/: `python audios/make_samples.py`.

Spoken by eSpeak NG (a woman's variant), 16 kHz mono, for use without a microphone. They are in a separate folder
because a bare WAV in audios/ is a voice.
"""

import asyncio
import sys
from pathlib import Path

import numpy as np

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))  # run as a script, from anywhere

from pipeline.audio.clip import Clip, encode_wav  # noqa: E402
from pipeline.settings import Settings  # noqa: E402
from pipeline.tts.espeak import open_engine  # noqa: E402
from pipeline.voices.catalogue import Voice  # noqa: E402

ASKER = Voice("asker", engines={"espeak": {"en": "en-us+f2", "pt": "pt-br+f2", "es": "es-419+f2", "speed": 140}})
SAMPLES = {
    "hello": ("en", "Hello!"),
    "what_time_is_it": ("en", "What time is it?"),
    "what_is_two_plus_three": ("en", "What is two plus three?"),
    "tell_me_a_story": ("en", "Tell me a story."),
    "que_horas_sao": ("pt", "Que horas são?"),
    "que_hora_es": ("es", "¿Qué hora es?"),
}
"""File name → language and text."""
RATE_HZ = 16_000
QUIET_S = 0.3
"""Silence before and after, as in a recording."""


async def main() -> None:
    folder = HOME / "audios" / "samples"
    folder.mkdir(exist_ok=True)
    async with open_engine(Settings(), lambda progress: None) as opened:
        for name, (language, text) in SAMPLES.items():
            clips = [clip async for clip in opened.engine.speak(text, voice=ASKER, language=language)]
            spoken = Clip.join(clips, RATE_HZ)
            quiet = Clip(np.zeros(int(QUIET_S * RATE_HZ), np.float32), RATE_HZ)
            (folder / f"{name}.wav").write_bytes(encode_wav(Clip.join([quiet, spoken, quiet], RATE_HZ)))
            print(f"{name}.wav: {text}")


if __name__ == "__main__":
    asyncio.run(main())
