"""Wake words: hits, false alarms, delay and CPU, with microWakeWord's models.

    python -m bench.wake_word [--models-dir models] [--hours 1] [--audio FOLDER]

Kokoro's voices (the English ones) say each wake word twice, followed at once by a question: hits, and where the
detection is, measured from the end of the wake word said alone (negative: before it). False alarms: all recordings in
FOLDER, then eSpeak's voices reading the documentation, for the given hours, with all wake words at once.
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.rows import Rows
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode_blocking
from pipeline.listening.detector import FRAME, RATE_HZ
from pipeline.listening.wake_word import WAKE_WORDS, MicroWakeWord
from pipeline.settings import HOME, Settings
from pipeline.support.progress import Progress
from pipeline.tts import kokoro
from pipeline.voices.catalogue import Voices
from tests.speech import Espeak

QUESTIONS = ("what time is it?", "set a timer for five minutes.")
READERS = ("en-us", "en", "en-us+f2", "en-us+m3", "en+f4", "de", "es", "fr")
SENTENCES_PER_CLIP = 8


def quiet(_: Progress) -> None:
    """Print nothing."""


async def say(settings: Settings, lines: Sequence[str], voices: Sequence[str]) -> dict[tuple[str, str], Clip]:
    """Return each line, said by each voice."""
    catalogue = Voices.load(settings)
    said: dict[tuple[str, str], Clip] = {}
    async with kokoro.open_engine(settings, quiet) as opened:
        catalogue.add_built_in(opened.voices)
        for voice, line in itertools.product(voices, lines):
            clips = [c async for c in opened.engine.speak(line, voice=catalogue.get(voice), language="en")]
            said[voice, line] = Clip.join(clips, clips[0].rate_hz).at(RATE_HZ)
    return said


def frames(samples: Samples) -> Iterator[tuple[int, Samples]]:
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        yield start + FRAME, samples[start : start + FRAME]


def found_at(name: str, samples: Samples) -> float | None:
    """Return the seconds after which the wake word is detected."""
    detector = MicroWakeWord(name)
    padded = np.concatenate([np.zeros(RATE_HZ, np.float32), samples, np.zeros(RATE_HZ // 2, np.float32)])
    return next((end / RATE_HZ - 1 for end, frame in frames(padded) if detector.hears(frame)), None)


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
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--audio", type=Path)
    options = parser.parse_args()
    settings = Settings(tts_engine="kokoro", models_dir=options.models_dir, tts_timeout_s=300)
    speakers = sorted(file.stem for file in (options.models_dir / "kokoro-82m" / "voices").glob("[ab][fm]_*.bin"))[:25]
    rows = Rows("wake word", "hits", "median delay", "longest delay")
    for name, word in WAKE_WORDS.items():
        lines = (word.phrase + ".", *(f"{word.phrase}, {question}" for question in QUESTIONS))
        said = asyncio.run(say(settings, lines, speakers))
        ends = {voice: len(said[voice, lines[0]].samples) / RATE_HZ for voice in speakers}
        found = {key: found_at(name, clip.samples) for key, clip in said.items() if key[1] != lines[0]}
        delays = [at - ends[voice] for (voice, _), at in found.items() if at is not None]
        median, longest = (f"{pick(delays) * 1000:+.0f} ms" if delays else "" for pick in (statistics.median, max))
        rows.add(name, f"{len(delays)} of {len(found)}", median, longest)
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
