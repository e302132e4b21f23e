"""The utterances of `bench.endpointing`: recordings of people, and sentences that Kokoro speaks with pauses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import tts
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode_blocking
from pipeline.listening.detector import FRAME, RATE_HZ, FullBand, SileroActivity, SpeechDetector
from pipeline.settings import Settings
from pipeline.tts import kokoro
from pipeline.voices.catalogue import Voice

RECORDINGS: dict[str, bool] = {
    "LJ001-0001 LJ001-0002": True,  # one sentence in two files
    "LJ001-0003 LJ001-0004": False,
    "jfk": True,
    "libri1088": False,
    "lv_0870": True,
    "lv_0890": True,
    "lv_0920": True,
    "cards_001": True,
    "cards_002": True,
    "cards_003": True,
    "goforward": True,
    "sb_spk1_snt1": True,
    "sb_spk1_snt2": True,
    "sb_spk1_snt3": True,
    "sb_spk1_snt4": True,
    "sb_spk1_snt5": True,
}
"""Files of one utterance, and whether the speaker has finished at its end: some are cut inside a sentence."""

HESITATING = (
    "I would like to… book a table for two.",
    "Could you… turn off the kitchen light?",
    "What is the weather like… in Lisbon tomorrow?",
    "Um… what time is it?",
    "So I was thinking… maybe we could go on Sunday.",
    "Remind me to call my mother… when I get home.",
    "Add milk, bread… and some butter to the list.",
    "I need a taxi to… the airport.",
    "Tell me about the… history of Rome.",
    "If it rains tomorrow… wake me up later.",
    "Set a timer for… ten minutes.",
    "Play something by… the Beatles.",
    "Well… I am not sure, but… I think so.",
    "The meeting is on Tuesday, no… on Wednesday at nine.",
    "I want to go to Lisbon… tomorrow morning.",
    "Turn on the light and… the radio.",
    "The book is under… the table in the kitchen.",
    "Do you know… what time the train leaves?",
)
DICTATING = (
    "My number is five five five… zero one four two.",
    "It is zero seven nine… one two three… four five six.",
    "My name is Smith, S, M… I, T, H.",
    "I live at twenty two… Baker Street.",
    "The code is alpha, bravo… seven, nine.",
    "My email is john dot smith… at example dot com.",
    "My card number is four two four two… one one one one.",
    "I was born on the fifth of May… nineteen eighty four.",
)
FINISHED = (
    "What time is it?",
    "Where are you from?",
    "Turn on the light.",
    "Tell me a story.",
    "What is two plus three?",
    "Is it going to rain tomorrow?",
    "Thank you.",
    "How do I get to the station?",
    "Set a timer for ten minutes.",
    "I think so.",
    "Call her.",
    "Play some music.",
    "Yes, please.",
    "Who wrote this book?",
    "Never mind.",
    "I will take the second one.",
    "My name is Alice.",
    "The kitchen light is too bright.",
    "I would rather stay at home tonight.",
    "It starts at half past seven.",
)
VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george")
ROOM = 0.0005
"""Level of a room's noise, which Kokoro's sound lacks."""
SPEECH_MS = 60
"""Speech that ends a pause, as in a conversation."""
LEAST_PAUSE_MS = 90
"""Shorter silence does not count as a pause: words have gaps, too."""


@dataclass(frozen=True)
class Utterance:
    """One utterance of a user."""

    name: str
    kind: str
    """recorded, hesitating, dictating, finished or further."""
    samples: Samples
    ends: bool
    """Whether the user has finished at its end."""
    narrow_band: bool = False
    """Whether it comes over the telephone."""


@dataclass(frozen=True)
class Silence:
    """A silence in an utterance or after it. Positions are samples."""

    utterance: Utterance
    began: int
    """First sample of the utterance's speech."""
    at: int
    """End of the speech before it, as the detector reports it."""
    ended: int | None
    """Start of the speech after it; None: it is the end of the utterance."""

    @property
    def ms(self) -> float | None:
        """Its length in the recording; None: endless."""
        return None if self.ended is None else (self.ended - self.at) * 1000 / RATE_HZ

    def sound(self, silence_ms: float, preroll_ms: float = 300) -> Samples:
        """Return the utterance up to this time in the silence; where the recorded silence is shorter, with the noise
        of its quietest moment."""
        samples = self.utterance.samples
        until = self.at + int(silence_ms * RATE_HZ / 1000)
        spoken = samples[max(0, self.began - int(preroll_ms * RATE_HZ / 1000)) : min(until, self.ended or len(samples))]
        missing = until - min(until, self.ended or len(samples))
        noise = np.random.default_rng(self.at).normal(0, quietest(samples), missing)
        return np.concatenate([spoken, noise.astype(np.float32)])


def quietest(samples: Samples) -> float:
    """Return the loudness (RMS) of the quietest 50 ms, at least that of a quiet microphone."""
    whole = len(samples) // 800 * 800
    return max(1e-4, float(np.sqrt(np.square(samples[:whole].reshape(-1, 800)).mean(axis=1)).min()))


def recorded(folder: Path) -> Iterator[Utterance]:
    """Yield the recordings of people."""
    for names, ends in RECORDINGS.items():
        parts = [
            decode_blocking((folder / f"{name}.wav").read_bytes(), max_seconds=60).at(RATE_HZ).samples
            for name in names.split()
        ]
        yield Utterance(names, "recorded", np.concatenate(parts), ends)


def further(folder: Path) -> Iterator[Utterance]:
    """Yield each WAV file of a folder as an utterance at whose end the speaker has finished."""
    for file in sorted(folder.glob("*.wav")):
        yield Utterance(
            file.stem, "further", decode_blocking(file.read_bytes(), max_seconds=60).at(RATE_HZ).samples, True
        )


async def spoken(models: Path, kept: Path) -> list[Utterance]:
    """Return the sentences that Kokoro speaks. kept: folder in which their sound is kept for the next time."""
    sentences = [
        (kind, text)
        for kind, texts in (("hesitating", HESITATING), ("dictating", DICTATING), ("finished", FINISHED))
        for text in texts
    ]
    files = [kept / f"{number:03}.npy" for number in range(len(sentences))]
    if not all(file.exists() for file in files):
        await _speak([text for _, text in sentences], models, files)
    found = []
    for number, ((kind, text), file) in enumerate(zip(sentences, files, strict=True)):
        samples = np.load(file)
        noise = np.random.default_rng(number).normal(0, ROOM, len(samples)).astype(np.float32)
        found.append(Utterance(text, kind, samples + noise, ends=True))
    return found


async def _speak(texts: list[str], models: Path, files: list[Path]) -> None:
    settings = Settings(tts_engine="kokoro", models_dir=models)
    tts.TIMEOUT_S = 300.0
    async with kokoro.open_engine(settings, lambda progress: None) as opened:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        for number, (text, file) in enumerate(zip(texts, files, strict=True)):
            voice = Voice("bench", engines={"kokoro": {"voice": VOICES[number % len(VOICES)]}})
            clips = [clip async for clip in opened.engine.speak(text, voice=voice, language="en")]
            np.save(file, Clip.join(clips, clips[0].rate_hz).at(RATE_HZ).samples)


def silences(utterance: Utterance, threshold: float = 0.5) -> Iterator[Silence]:
    """Yield the pauses of an utterance, and the silence after it, as the detector of a conversation finds them."""
    activity = SileroActivity()
    quiet = np.random.default_rng(0).normal(0, quietest(utterance.samples), RATE_HZ).astype(np.float32)
    samples = np.concatenate([utterance.samples, quiet])
    detector = SpeechDetector(FullBand(activity) if utterance.narrow_band else activity, threshold)
    began: int | None = None
    pause: int | None = None
    for start in range(0, len(samples) // FRAME * FRAME, FRAME):
        detector.feed(samples[start : start + FRAME])
        if detector.run_ms >= SPEECH_MS:
            began = detector.began if began is None else began
            if pause is not None and (detector.began - pause) * 1000 / RATE_HZ >= LEAST_PAUSE_MS:
                yield Silence(utterance, began, pause, detector.began)
            pause = detector.last_speech
    assert began is not None, utterance.name
    assert pause is not None, utterance.name
    if utterance.ends:
        yield Silence(utterance, began, min(pause, len(utterance.samples)), None)
