"""Speech for training and tests: eSpeak NG inside this process, at 16 kHz.

python -m tests.models.training.synthesize OUT.npz --count 6000
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from tests.models.training.corpus import sentence

RATE = 16_000
# "en" is eSpeak's British English; this build does not know "en-gb".
VOICES = ("en-us", "en-us+f2", "en-us+f4", "en-us+m3", "en-gb-x-rp", "en+f3")
OTHER_VOICES = ("en-us+m1", "en-us+f5", "en+m7")

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_SPEED, _PITCH = 1, 3
_UTF8, _END_PAUSE = 1, 0x1000
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """eSpeak NG through its C interface. One per process: the library keeps its state in globals."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        data = espeakng_loader.get_data_path().encode()
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
        if self.rate <= 0:
            raise RuntimeError(f"Could not start eSpeak NG: {self.rate}")
        self._chunks: list[bytes] = []
        self._callback = _CALLBACK(self._collect)  # kept, because ctypes holds no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    def seed(self, seed: int) -> None:
        """Seed the noise, so that it is the same in each process that says the same things after the same seed."""
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def say(self, text: str, voice: str, speed: int = 160, pitch: int = 50) -> np.ndarray:
        """Return the utterance as float32 samples at 16 kHz, with only the silence that eSpeak adds around it."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        self._library.espeak_SetParameter(_SPEED, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._chunks = []
        data = text.encode()
        if self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8 | _END_PAUSE, None, None) != 0:
            raise RuntimeError("eSpeak NG did not speak")
        self._library.espeak_Synchronize()
        samples = np.frombuffer(b"".join(self._chunks), dtype="<i2").astype(np.float32) / 32768
        return soxr.resample(samples, self.rate, RATE).astype(np.float32)


def trim(samples: np.ndarray, threshold: float = 0.004) -> np.ndarray:
    """Cut the silence that eSpeak puts at the ends, so that training decides on the pauses around the words."""
    loud = np.flatnonzero(np.abs(samples) > threshold)
    return samples[max(0, loud[0] - 160) : loud[-1] + 160] if loud.size else samples


def draw(rng: random.Random, voices: tuple[str, ...]) -> dict[str, str | int]:
    """Draw an utterance: text, voice, speed (words a minute) and pitch."""
    return {
        "text": sentence(rng),
        "voice": rng.choice(voices),
        "speed": rng.randint(135, 190),
        "pitch": rng.randint(30, 70),
    }


def main() -> None:
    """Write the training set: all samples end to end, the start of each utterance, and its text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    espeak = Espeak()
    entries = [draw(rng, VOICES) for _ in range(arguments.count)]
    clips = [(trim(espeak.say(**entry)) * 32767).astype(np.int16) for entry in entries]
    offsets = np.cumsum([0, *map(len, clips)])
    np.savez(arguments.out, samples=np.concatenate(clips), offsets=offsets, entries=json.dumps(entries))
    print(f"{len(clips)} utterances, {offsets[-1] / RATE / 60:.0f} minutes")


if __name__ == "__main__":
    main()
