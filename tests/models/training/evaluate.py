"""Accuracy of the trained recogniser on new speech, and the utterances that tests can rely on.

python -m tests.models.training.evaluate MODEL --count 60
python -m tests.models.training.evaluate MODEL --pin MODEL/utterances.json
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
from faster_whisper import WhisperModel

from tests.models.training.synthesize import OTHER_VOICES, RATE, VOICES, Espeak, draw

SILENCE_S = 0.3
REPEATS = 5
# A short spoken turn as the assistant decodes it, and faster-whisper's defaults.
SETTINGS: dict[str, dict[str, object]] = {
    "turn": {"language": "en", "beam_size": 1, "condition_on_previous_text": False, "without_timestamps": True},
    "defaults": {},
}
# (text, voice, speed, pitch): replies of the built-in responder, then some of everything else.
CANDIDATES = [
    ("what time is it", "en-us+f2", 160, 50),
    ("what day is it today", "en-us+f2", 160, 50),
    ("what is the date today", "en-us+f2", 150, 55),
    ("what is two plus three", "en-us+f2", 160, 50),
    ("what is nine minus four", "en-us+f2", 155, 45),
    ("what is six times seven", "en-us+f4", 160, 50),
    ("what is twelve divided by three", "en-us+f2", 155, 50),
    ("count to five", "en-us+f2", 160, 50),
    ("count to ten", "en-us", 160, 50),
    ("hello", "en-us+f2", 160, 50),
    ("good morning", "en-us+f2", 160, 50),
    ("how are you", "en-us+f2", 160, 50),
    ("what is your name", "en-us+f2", 160, 50),
    ("my name is alice", "en-us+f2", 160, 50),
    ("my name is thomas", "en-us+m3", 160, 50),
    ("what is my name", "en-us+f2", 160, 50),
    ("tell me a story", "en-us+f2", 160, 50),
    ("tell me a long story", "en-us+f2", 160, 50),
    ("tell me a joke", "en-us+f2", 160, 50),
    ("spell london", "en-us+f2", 160, 50),
    ("spell alice", "en-us+f2", 160, 50),
    ("repeat after me good morning", "en-us+f2", 160, 50),
    ("what did i say", "en-us+f2", 160, 50),
    ("what can you do", "en-us+f2", 160, 50),
    ("stop", "en-us+f2", 160, 50),
    ("wait", "en-us+f2", 160, 50),
    ("goodbye", "en-us+f2", 160, 50),
    ("thank you very much", "en-us+f2", 160, 50),
    ("yes please", "en-us+f2", 160, 50),
    ("no thank you", "en-us+f4", 160, 50),
    ("turn on the kitchen light", "en-us+f2", 160, 50),
    ("turn off the bedroom lamp", "en-us", 160, 50),
    ("set a timer for ten minutes", "en-us+f2", 160, 50),
    ("set the office light to green", "en-gb-x-rp", 160, 50),
    ("what is the weather in paris tomorrow", "en-us+f4", 160, 50),
    ("how many hours are there in three days", "en-us+f2", 155, 50),
    ("call sarah", "en+f3", 160, 50),
    ("what time is it now", "en-us", 165, 45),
    ("what is seventeen plus forty two", "en-us+m3", 150, 50),
    ("hello how are you", "en-gb-x-rp", 160, 50),
]


def quiet(seconds: float) -> np.ndarray:
    """Digital silence."""
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def transcribe(model: WhisperModel, samples: np.ndarray, silence: float, settings: dict[str, object]) -> str:
    """Return the transcript, with silence put around the speech."""
    audio = np.concatenate([quiet(silence), samples, quiet(silence)])
    segments, _ = model.transcribe(audio, **settings)
    return "".join(segment.text for segment in segments).strip()


def pinned(model: WhisperModel, espeak: Espeak) -> Iterator[dict[str, str | int]]:
    """Return the candidates that are exact every time, in each setting and with less or more silence around them.

    eSpeak keeps state between utterances, so its output differs slightly each time. A shuffled order exposes this.
    """
    exact = [True] * len(CANDIDATES)
    for repeat in range(REPEATS):
        for index in random.Random(repeat).sample(range(len(CANDIDATES)), len(CANDIDATES)):
            text, voice, speed, pitch = CANDIDATES[index]
            samples = espeak.say(text, voice, speed, pitch)
            for settings in SETTINGS.values():
                for silence in (SILENCE_S, 0.0, 2 * SILENCE_S)[: 3 if repeat == 0 else 1]:
                    heard = transcribe(model, samples, silence, settings)
                    if heard != text:
                        exact[index] = False
                        print(f"not exact: {text!r} in {voice} with {silence} s: {heard!r}")
    for (text, voice, speed, pitch), good in zip(CANDIDATES, exact, strict=True):
        if good:
            yield {"text": text, "voice": voice, "speed": speed, "pitch": pitch}


def report(model: WhisperModel, espeak: Espeak, count: int, seed: int, trained: set[str]) -> None:
    """Print word error rate and exact sentences for each voice and, over all voices, for sentences new to the model."""
    print(f"{'':<14}" + "".join(f"{name:>24}" for name in SETTINGS))
    rows: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for voice in (*VOICES, *OTHER_VOICES):
        rng = random.Random(f"{seed} {voice}")  # other sentences for each voice
        clips = [(entry["text"], espeak.say(**entry)) for entry in (draw(rng, (voice,)) for _ in range(count))]
        for name, settings in SETTINGS.items():
            for text, samples in clips:
                pair = (text, transcribe(model, samples, SILENCE_S, settings))
                known = "voices known" if voice in VOICES else "voices new"
                for row in (voice, known, "text known" if text in trained else "text new"):
                    rows.setdefault(row, {}).setdefault(name, []).append(pair)
        print(f"{voice:<14}" + "".join(map(score, rows[voice].values())), flush=True)
    for row in ("voices known", "voices new", "text known", "text new"):
        print(f"{row:<14}" + "".join(map(score, rows.get(row, {}).values())))
    wrong = [pair for name in rows["voices known"].values() for pair in name if pair[0] != pair[1]]
    for text, heard in wrong[:20]:
        print(f"{text!r} was transcribed as {heard!r}")


def score(pairs: list[tuple[str, str]]) -> str:
    """Word error rate and number of exact transcripts."""
    error = jiwer.wer([text for text, _ in pairs], [heard for _, heard in pairs])
    exact = sum(text == heard for text, heard in pairs)
    return f"{100 * error:10.1f} % {exact:4d} of {len(pairs):4d}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=60, help="fresh utterances for each voice")
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--trained-on", type=int, default=6000, help="the training set's --count")
    parser.add_argument("--trained-seed", type=int, default=1, help="the training set's --seed")
    parser.add_argument("--pin", type=Path, help="write the candidates that are always exact to this file instead")
    arguments = parser.parse_args()
    model = WhisperModel(str(arguments.model), device="cpu", compute_type="int8", cpu_threads=1)
    espeak = Espeak()
    if arguments.pin:
        utterances = list(pinned(model, espeak))
        lines = ",\n".join(f"    {json.dumps(entry)}" for entry in utterances)
        head = f'"sample_rate": {RATE},\n  "silence_s": {SILENCE_S}'
        arguments.pin.write_text(f'{{\n  {head},\n  "utterances": [\n{lines}\n  ]\n}}\n')
        print(f"{len(utterances)} of {len(CANDIDATES)} are always exact")
    else:
        rng = random.Random(arguments.trained_seed)
        trained = {str(draw(rng, VOICES)["text"]) for _ in range(arguments.trained_on)}
        report(model, espeak, arguments.count, arguments.seed, trained)


if __name__ == "__main__":
    main()
