"""The diarization error rate on conversations that are spliced from clips.

    python -m bench.diarization FOLDER [--speakers 1 2 3 4] [--rounds 6]

FOLDER has one folder per speaker with recordings of that speaker alone. A conversation takes turns of 1.5 to 5 s from
them, with pauses of 0.2 to 0.8 s; the truth is the VAD's speech spans in each turn. The error rate is the share of
speech that is missed, invented, or assigned to the wrong speaker, under the best mapping of names, without a collar.
"""

import argparse
import asyncio
import io
import random
import time
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import Recording, decode_blocking
from pipeline.listening.vad import speech_spans
from pipeline.settings import Settings
from pipeline.transcripts.speakers import HowMany, SpeakerTurn
from pipeline.transcripts.speakers.resemblyzer import open_engine

RATE_HZ = 16_000
FRAME = 160
"""Length of the frames in which errors are counted: 10 ms."""

Truth = list[tuple[float, float, int]]


def conversation(voices: list[list[Clip]], turns: int, rng: random.Random) -> tuple[Clip, Truth]:
    """Sound and truth: (start, end, speaker)."""
    pieces: list[np.ndarray] = []
    truth: Truth = []
    at = 0
    for number in range(turns):
        speaker = number if number < len(voices) else rng.randrange(len(voices))
        sound = rng.choice(voices[speaker]).samples
        length = min(len(sound), int(rng.uniform(1.5, 5.0) * RATE_HZ))
        begin = rng.randrange(len(sound) - length + 1)
        turn = sound[begin : begin + length]
        pause = np.zeros(int(rng.uniform(0.2, 0.8) * RATE_HZ), np.float32)
        truth += [((at + s.start) / RATE_HZ, (at + s.end) / RATE_HZ, speaker) for s in speech_spans(turn)]
        pieces += [turn, pause]
        at += len(turn) + len(pause)
    return Clip(np.concatenate(pieces), RATE_HZ), truth


def errors(truth: Truth, found: list[SpeakerTurn], seconds: float) -> tuple[float, float, float]:
    """Missed, invented and confused speech, each as a share of all speech."""
    count = int(seconds * RATE_HZ / FRAME) + 1
    names = sorted({turn.speaker for turn in found})
    real = np.full(count, -1)
    told = np.full(count, -1)
    for start_s, end_s, speaker in truth:
        real[int(start_s * 100) : int(end_s * 100)] = speaker
    for turn in found:
        told[int(turn.start_s * 100) : int(turn.end_s * 100)] = names.index(turn.speaker)
    spoken, heard = real >= 0, told >= 0
    both = np.zeros((real.max() + 1, max(1, len(names))))
    for speaker in range(both.shape[0]):
        for name in range(len(names)):
            both[speaker, name] = np.sum((real == speaker) & (told == name))
    right = both[linear_sum_assignment(-both)].sum()
    parts = np.sum(spoken & ~heard), np.sum(~spoken & heard), np.sum(spoken & heard) - right
    missed, invented, confused = (float(part / spoken.sum()) for part in parts)
    return missed, invented, confused


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--turns", type=int, default=14)
    chosen = parser.parse_args()
    people = [
        [decode_blocking(file.read_bytes(), max_seconds=600).at(RATE_HZ) for file in sorted(folder.iterdir())]
        for folder in sorted(chosen.folder.iterdir())
        if folder.is_dir()
    ]
    print(f"{len(people)} speakers, {sum(map(len, people))} recordings")
    async with open_engine(Settings(), lambda progress: None) as opened:
        for count in chosen.speakers:
            rates: dict[str, list[tuple[float, float, float]]] = {"found": [], "told": []}
            numbers: list[int] = []
            sounded = worked = 0.0
            for number in range(chosen.rounds):
                rng = random.Random(1000 * count + number)
                clip, truth = conversation(rng.sample(people, count), chosen.turns, rng)
                wav = encode_wav(clip)
                for how, many in (("found", HowMany()), ("told", HowMany(count, count))):
                    began = time.perf_counter()
                    found = await opened.engine.turns(
                        lambda data=wav: Recording(io.BytesIO(data), max_seconds=1e6),  # type: ignore[misc]
                        many,
                    )
                    worked += time.perf_counter() - began
                    sounded += clip.seconds
                    rates[how].append(errors(truth, found, clip.seconds))
                    if how == "found":
                        numbers.append(len({turn.speaker for turn in found}))
            for how, all_parts in rates.items():
                missed, invented, confused = (100 * float(np.mean(part)) for part in zip(*all_parts, strict=True))
                print(
                    f"{count} speakers, their number {how}: error rate {missed + invented + confused:.1f} % "
                    f"(missed {missed:.1f}, invented {invented:.1f}, confused {confused:.1f})"
                )
            print(f"  numbers found {numbers}; {sounded / worked:.0f} times real time")


if __name__ == "__main__":
    asyncio.run(main())
