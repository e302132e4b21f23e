"""Sounds of a room for bench/room.py: many voices, noise, reverberation, and a microphone that hears them all."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline import tts
from pipeline.assistant import open_tts
from pipeline.audio.clip import Clip, Samples
from pipeline.settings import Settings

RATE_HZ = 16_000
STEP = 320
"""Samples that the microphone sends at a time."""
LEVEL_DB = -26.0
"""Level of the user's speech, as in ITU-T P.56's usual practice, in dBFS."""
ROOM_DB = -70.0
"""Level of the room without anybody."""
VOICES = (
    "af_heart", "af_bella", "af_sarah", "am_adam", "am_eric", "am_michael", "bf_alice", "bf_emma", "bm_daniel",
    "bm_george",
)  # fmt: skip
"""Kokoro's voices, women and men, American and British."""
QUESTION = "Can you tell me something about the grey heron?"
CUT_INS = ("Stop please, what about the fish?", "Wait, I have another question.", "No, tell me the time instead.")
TELEVISION = (
    "And now the weather for tomorrow, with heavy rain in the north of the country.",
    "Welcome back to the show, tonight we are going to meet three very special guests.",
)
REPLY = (
    "The grey heron is a tall bird that lives near rivers and lakes.",
    "It stands still in shallow water for a very long time.",
    "When a small fish swims past it strikes with its long neck.",
)


async def _speak(wanted: Sequence[tuple[str, str]], model: Path, kept: Path) -> None:
    settings = Settings(tts_engine="kokoro", tts_model=str(model), model_host="thread")
    tts.TIMEOUT_S = 600.0
    async with open_tts(settings) as running:
        voices = {voice.name: voice for voice in running.voices}
        for name, text in wanted:
            parts = [clip async for clip in running.engine.speak(text, voice=voices[name], language="en")]
            np.save(_file(kept, name, text), Clip.join(parts, RATE_HZ).samples)


def _file(kept: Path, voice: str, text: str) -> Path:
    return kept / f"{voice}-{abs(hash_of(text)):x}.npy"


def hash_of(text: str) -> int:
    """Return a hash that is the same in each process."""
    number = 7
    for char in text:
        number = (number * 1_000_003 + ord(char)) % (1 << 61)
    return number


def spoken(wanted: Sequence[tuple[str, str]], model: Path, kept: Path) -> dict[tuple[str, str], Samples]:
    """Return the sound at LEVEL_DB of each (voice, text) by Kokoro. kept: a folder that keeps the sounds."""
    kept.mkdir(parents=True, exist_ok=True)
    missing = [one for one in wanted if not _file(kept, *one).is_file()]
    if missing:
        asyncio.run(_speak(missing, model, kept))
    return {one: at_level(np.load(_file(kept, *one)), LEVEL_DB) for one in wanted}


def level_db(samples: Samples) -> float:
    """Return the level of the loud half of the sound in dBFS: pauses do not count."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    power = np.sort(np.square(frames).mean(axis=1))
    return float(10 * np.log10(power[len(power) // 2 :].mean() + 1e-12))


def at_level(samples: Samples, wanted_db: float) -> Samples:
    """Return the sound at this level."""
    return (samples * 10 ** ((wanted_db - level_db(samples)) / 20)).astype(np.float32)


def fan(count: int, rng: np.random.Generator) -> Samples:
    """Return the noise of a fan at LEVEL_DB: a low rush, and the hum of its blades."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    rush = np.fft.irfft(spectrum / (1 + (hz / 250) ** 1.2), count)
    time_s = np.arange(count) / RATE_HZ
    hum = sum(np.sin(2 * np.pi * 94 * n * time_s + n) / n for n in (1, 2, 3, 4))
    return at_level((rush / rush.std() + 0.4 * hum).astype(np.float32), LEVEL_DB)


def babble(count: int, rng: np.random.Generator, voices: Sequence[Samples], talkers: int = 6) -> Samples:
    """Return the noise of a full room at LEVEL_DB: several people at once."""
    mixed = np.zeros(count, np.float32)
    for _ in range(talkers):
        order = rng.permutation(len(voices))
        line = np.concatenate([voices[index] for index in order])
        mixed += np.resize(np.roll(line, -int(rng.integers(len(line)))), count)
    return at_level(mixed, LEVEL_DB)


def impulse(rng: np.random.Generator, rt60_s: float) -> Samples:
    """Return the response of a small loudspeaker in a room, with full level for speech: the direct sound, then
    reverberation that decays by 60 dB in `rt60_s`."""
    count = int(rt60_s * RATE_HZ)
    time_s = np.arange(count) / RATE_HZ
    response = rng.standard_normal(count) * 10 ** (-3 * time_s / rt60_s) * 0.05
    response[0] += 1.0
    spectrum, hz = np.fft.rfft(response, 2 * count), np.fft.rfftfreq(2 * count, 1 / RATE_HZ)
    highpass = (hz / 250) ** 2 / (1 + (hz / 250) ** 2)  # a small loudspeaker has no bass
    return np.fft.irfft(spectrum * highpass)[:count].astype(np.float32)


@dataclass
class Microphone:
    """A microphone without echo cancelling. Times are samples at RATE_HZ since the start."""

    rng: np.random.Generator
    echo_db: float | None = None
    """Level of the reply's echo, relative to the user; None: none."""
    delay_ms: float = 150.0
    """Time from the service's sending to the microphone."""
    now: int = 0
    _sounds: list[tuple[int, Samples]] = field(default_factory=list)
    _played: Samples = field(default_factory=lambda: np.zeros(RATE_HZ * 120, np.float32))
    _until: int = 0
    _response: Samples = field(init=False)

    def __post_init__(self) -> None:
        self._response = impulse(self.rng, float(self.rng.uniform(0.2, 0.5)))

    def hears(self, samples: Samples, *, after: int = 0) -> int:
        """Let a person speak, `after` samples from now; return the end."""
        self._sounds.append((self.now + after, samples))
        return self.now + after + len(samples)

    def plays(self, clip: Clip) -> None:
        """Play a frame of the reply on the loudspeaker, after those before. The reply is at LEVEL_DB."""
        if self.echo_db is None:
            return
        samples = clip.at(RATE_HZ).samples
        start = max(self._until, self.now + int(self.delay_ms * RATE_HZ / 1000))
        self._played[start : start + len(samples)] = samples * 10 ** (self.echo_db / 20)
        self._until = start + len(samples)

    def step(self) -> Samples:
        """Return the next STEP samples."""
        start, end = self.now, self.now + STEP
        heard = self.rng.standard_normal(STEP).astype(np.float32) * 10 ** (ROOM_DB / 20)
        for at, samples in self._sounds:
            first, last = max(at, start), min(at + len(samples), end)
            if first < last:
                heard[first - start : last - start] += samples[first - at : last - at]
        if self.echo_db is not None and start < self._until + len(self._response):
            before = max(0, start - len(self._response))
            part = self._played[before:end]
            size = 1 << (len(part) + len(self._response)).bit_length()
            spectrum = np.fft.rfft(part, size) * np.fft.rfft(self._response, size)
            ringing = np.fft.irfft(spectrum, size)[: len(part)]
            heard += ringing[start - before : end - before].astype(np.float32)
        self.now = end
        return heard
