"""The speaker lock on recordings of people: how often it refuses its owner, and hears others.

    python -m bench.voices FOLDER [--trials 100] [--seconds 1.5 8]

FOLDER has one folder for each person, with recordings of any length and format (Debian's `asterisk-core-sounds-*` are
such folders). A trial takes a person who says some recordings first, and then another
one; or a second person says one, at the same level or 10 dB below. "heard": the lock hears the whole utterance.
"interrupts": it would interrupt a reply, which is judged after 0.6 s of speech and then every 0.25 s.

Then the owner goes on 12 dB below, or another person 10 dB below, with ten recordings (the same ones again if there are
fewer). "by the third", "by the sixth": trials in which the lock has heard one until then. "heard": share of all.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from bench.room import VoiceEncoder, runs
from bench.room_sounds import LEVEL_DB, RATE_HZ, at_level
from bench.rows import Rows
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode_blocking
from pipeline.conversation.speaker_lock import Owner, SpeakerLock
from tests.scripted import ScriptedSTT

FORMATS = (".wav", ".flac", ".mp3", ".ogg", ".g722", ".gsm")
FIRST_S, STEP_S, LONGEST_S = 0.6, 0.25, 1.6
"""Speech after which an interruption is judged for the first time, the step, and the newest sound that is judged."""
SPEECH = 0.7
"""Share of a recording that must be speech: others are tones and music."""
FEWEST, PER_PERSON = 5, 8
"""Recordings of one person that are used."""
TRIED = (("the owner", 0.0), ("another", 0.0), ("another", -10.0))
"""The speaker, and the level compared with the first recordings in dB."""

SERIES, SERIES_LENGTH = (("the owner", -12.0), ("another", -10.0)), 10
"""The speaker of a series after the first recordings, and its level compared with these in dB; and its length."""


def read(file: Path) -> Samples:
    """Return the sound of a recording at RATE_HZ; empty for other files."""
    if file.suffix not in (".g722", ".gsm"):
        return decode_blocking(file.read_bytes(), max_seconds=600).at(RATE_HZ).samples
    with av.open(str(file), format=file.suffix[1:]) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        parts = [one.to_ndarray()[0] for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float32)


def people(folder: Path, seconds: Sequence[float]) -> dict[str, list[Samples]]:
    """Return person → recordings of speech with these lengths, at LEVEL_DB."""
    found: dict[str, list[Samples]] = {}
    for person in sorted(one for one in folder.iterdir() if one.is_dir()):
        files = sorted(file for file in person.rglob("*") if file.suffix in FORMATS)
        np.random.default_rng(0).shuffle(files)
        sounds = list[Samples]()
        for file in files:
            sound = read(file)
            inside = seconds[0] <= len(sound) / RATE_HZ <= seconds[1]
            if inside and sum(end - start for start, end in runs(sound)) >= SPEECH * len(sound):
                sounds.append(at_level(sound, LEVEL_DB))
            if len(sounds) == PER_PERSON:
                break
        if len(sounds) >= FEWEST:
            found[person.name] = sounds
    return found


class RememberingEncoder(VoiceEncoder):
    """Keeps the vectors, because the trials share their recordings."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, Samples] = {}

    async def embed(self, clips: Sequence[Samples]) -> Samples:
        for clip in clips:
            if (sound := clip.tobytes()) not in self._known:
                [self._known[sound]] = await super().embed([clip])
        return np.stack([self._known[clip.tobytes()] for clip in clips])


async def hears(lock: SpeakerLock, sound: Samples) -> bool:
    """Whether the lock lets words of this sound through."""
    return bool((await lock.transcribe(Clip(sound, RATE_HZ), language="en", prompt=None, words=False)).text)


async def interrupts(lock: SpeakerLock, sound: Samples) -> bool:
    """Whether this sound interrupts a reply."""
    judging, first = lock.judging(), int(np.argmax(np.abs(sound) > 0.01))
    for end in range(first + int(FIRST_S * RATE_HZ), len(sound) + 1, int(STEP_S * RATE_HZ)):
        if await hears(judging, sound[max(0, end - int(LONGEST_S * RATE_HZ)) : end]):
            return True
    return False


async def measure(voices: dict[str, list[Samples]], trials: int) -> None:
    encoder, names = RememberingEncoder(), sorted(voices)
    rows = Rows("who speaks                          ", "known from", "trials", "heard", "interrupts")
    for count, tried in ((1, TRIED), (3, TRIED[:2])):
        for who, gain_db in tried:
            heard, cut_in = 0, 0
            for number in range(trials):
                rng = np.random.default_rng(number)
                owner, other = rng.choice(names, 2, replace=False)
                *known, said = (voices[owner][index] for index in rng.choice(len(voices[owner]), count + 1, False))
                if who == "another":
                    said = voices[other][int(rng.integers(len(voices[other])))]
                lock = SpeakerLock(ScriptedSTT("what time is it in Lisbon"), encoder, Owner())
                for sound in known:
                    await hears(lock, sound)
                said = at_level(said, LEVEL_DB + gain_db)
                cut_in += await interrupts(lock, said)
                heard += await hears(lock.judging(), said)
            rows.add(f"{who}, {gain_db:+g} dB".ljust(36), f"{count} sentences", str(trials), str(heard), str(cut_in))


async def measure_series(voices: dict[str, list[Samples]], trials: int) -> None:
    encoder, names = RememberingEncoder(), sorted(voices)
    rows = Rows("who goes on                         ", "known from", "trials", "by the third", "by the sixth", "heard")
    for count in (1, 3):
        for who, gain_db in SERIES:
            series = list[list[bool]]()
            for number in range(trials):
                rng = np.random.default_rng(number)
                owner, other = rng.choice(names, 2, replace=False)
                order = rng.permutation(len(voices[owner]))
                lock = SpeakerLock(ScriptedSTT("what time is it in Lisbon"), encoder, Owner())
                for index in order[:count]:
                    await hears(lock, voices[owner][index])
                said = [voices[owner][i] for i in order[count:]] if who == "the owner" else voices[other]
                quiet = [at_level(said[turn % len(said)], LEVEL_DB + gain_db) for turn in range(SERIES_LENGTH)]
                series.append([await hears(lock, sound) for sound in quiet])
            soon = [str(sum(any(heard[:last]) for heard in series)) for last in (3, 6)]
            share = f"{np.mean(series):.0%}"
            rows.add(f"{who}, {gain_db:+g} dB".ljust(36), f"{count} sentences", str(trials), *soon, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seconds", type=float, nargs=2, default=(1.5, 8.0), help="length of the recordings")
    options = parser.parse_args()
    voices = people(options.folder, options.seconds)
    print(", ".join(f"{name}: {len(sounds)}" for name, sounds in voices.items()))
    asyncio.run(measure(voices, options.trials))
    asyncio.run(measure_series(voices, options.trials))


if __name__ == "__main__":
    main()
