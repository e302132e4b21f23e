"""Wake words: hits, false alarms, delay and CPU, with microWakeWord's models.

    python -m bench.wake_word [--kokoro models/kokoro-82m] [--hours 1] [--audio FOLDER] [--gain 1]

Kokoro's English voices say each wake word twice, followed at once by a question: hits at some levels of the speech, and
where the detection is, measured from the end of the wake word said alone (negative: before it). False alarms: all
recordings in FOLDER, then eSpeak's voices reading the documentation, for the given hours, with all wake words at once.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.room_sounds import LEVEL_DB, ROOM_DB, at_level, spoken
from bench.rows import Rows
from pipeline.audio.clip import Samples
from pipeline.audio.decode import decode_blocking
from pipeline.listening import wake_word
from pipeline.listening.detector import FRAME, RATE_HZ
from pipeline.listening.wake_word import WAKE_WORDS, MicroWakeWord
from pipeline.settings import HOME
from tests.speech import Espeak

QUESTIONS = ("what time is it?", "set a timer for five minutes.")
READERS = ("en-us", "en", "en-us+f2", "en-us+m3", "en+f4", "de", "es", "fr")
SENTENCES_PER_CLIP = 8
LEVELS_DB = (LEVEL_DB - 10, LEVEL_DB, LEVEL_DB + 10)


def frames(samples: Samples) -> Iterator[tuple[int, Samples]]:
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        yield start + FRAME, samples[start : start + FRAME]


def found_at(name: str, samples: Samples, level_db: float) -> float | None:
    """Return the seconds after which the wake word is detected in a room with speech of this level."""
    detector = MicroWakeWord(name)
    padded = np.pad(at_level(samples, level_db), (RATE_HZ, RATE_HZ // 2))
    noise = np.random.default_rng(0).standard_normal(len(padded)) * 10 ** (ROOM_DB / 20)
    heard = (padded + noise).astype(np.float32)
    return next((end / RATE_HZ - 1 for end, frame in frames(heard) if detector.hears(frame)), None)


def prose() -> Iterator[str]:
    """Yield paragraphs of the documentation, over and over."""
    texts = [file.read_text("utf-8") for file in sorted((HOME / "docs").glob("*.md"))]
    while True:
        for text in texts:
            sentences = [line for line in text.splitlines() if len(line) > 60 and line[0].isalpha()]
            for start in range(0, len(sentences), SENTENCES_PER_CLIP):
                yield " ".join(sentences[start : start + SENTENCES_PER_CLIP])


def speech(folder: Path | None, seconds: float) -> Iterator[Samples]:
    for file in sorted(folder.rglob("*.*")) if folder else ():
        if file.suffix in (".wav", ".mp3", ".flac"):
            yield decode_blocking(file.read_bytes(), max_seconds=3600).at(RATE_HZ).samples
    espeak, read = Espeak(), 0.0
    for text, voice in zip(prose(), itertools.cycle(READERS), strict=False):
        samples = espeak.say(text, voice)
        read += len(samples) / RATE_HZ
        yield samples
        if read > seconds:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kokoro", type=Path, default=Path("models/kokoro-82m"), help="with voices/NAME.bin")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "parley-room")
    parser.add_argument("--gain", type=float, default=wake_word.GAIN, help="1: the models' own sound")
    parser.add_argument("--words", nargs="*", default=list(WAKE_WORDS))
    options = parser.parse_args()
    wake_word.GAIN = options.gain
    speakers = sorted(file.stem for file in (options.kokoro / "voices").glob("[ab][fm]_*.bin"))[:25]
    rows = Rows("wake word", *(f"hits, {level_db:g} dBFS" for level_db in LEVELS_DB), "median delay", "longest delay")
    for name in options.words:
        phrase = WAKE_WORDS[name].phrase
        lines = (phrase + ".", *(f"{phrase}, {question}" for question in QUESTIONS))
        said = spoken(list(itertools.product(speakers, lines)), options.kokoro, options.kept)
        ends = {voice: len(said[voice, lines[0]]) / RATE_HZ for voice in speakers}
        asked = {key: sound for key, sound in said.items() if key[1] != lines[0]}
        cells, delays = list[str](), list[float]()
        for level_db in LEVELS_DB:
            found = {key: found_at(name, sound, level_db) for key, sound in asked.items()}
            hits = [at - ends[voice] for (voice, _), at in found.items() if at is not None]
            delays += hits
            cells.append(f"{len(hits)} of {len(found)}")
        median, longest = (f"{pick(delays) * 1000:+.0f} ms" if delays else "" for pick in (statistics.median, max))
        rows.add(name, *cells, median, longest)
    alarms, heard_s, cpu_s = [], 0.0, 0.0
    detectors = {name: MicroWakeWord(name) for name in WAKE_WORDS}
    for samples in speech(options.audio, options.hours * 3600):
        heard_s += len(samples) / RATE_HZ
        began = time.process_time()
        for _, frame in frames(samples):
            for name, detector in detectors.items():
                if detector.hears(frame):
                    alarms.append(name)
                    detector.reset()
        cpu_s += time.process_time() - began
    print(f"\n{len(alarms)} false alarms of 4 wake words in {heard_s / 60:.0f} min of speech: {alarms}")
    print(f"CPU: {100 * cpu_s / heard_s / len(detectors):.2f} % of a core for one wake word")


if __name__ == "__main__":
    main()
