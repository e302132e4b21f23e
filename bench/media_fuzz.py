"""Thousands of damaged recordings sent through the decoder: each must be decoded or refused.

    python -m bench.media_fuzz [--files 12000] [--seed 0] [--at-once 4]

Seeds of each format are mutated: bytes and integers changed, chunks cut out, doubled, or swapped with those of another
file. Every fourth file is read as a long recording instead of an utterance. Exits with 1 when any error other than
BadInput is raised, a sample is not a number, or the process that decoders are forked from is lost.
"""

import argparse
import asyncio
import io
import struct
import sys
import time
from collections import Counter

import numpy as np

from pipeline.audio.decode import Recording, decode, processes, warm_up
from pipeline.errors import BadInput
from tests.decode.bombs import muxed, sound, written

MAX_S = 30.0
EXTREMES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def seeds() -> dict[str, bytes]:
    """A small file of each format."""
    return {
        "wav": written("WAV", "PCM_16"), "wav24": written("WAVEX", "PCM_24"), "wav float": written("WAV", "FLOAT"),
        "wav adpcm": written("WAV", "IMA_ADPCM"), "rf64": written("RF64", "PCM_16"), "mp3": written("MP3"),
        "flac": written("FLAC"), "vorbis": written("OGG", "VORBIS"), "opus": written("OGG", "OPUS"),
        "aiff": written("AIFF"), "m4a": muxed("ipod", "aac"), "adts": muxed("adts", "aac"),
        "webm": muxed("webm", "libopus"), "mkv": muxed("matroska", "aac"), "ts": muxed("mpegts", "aac"),
        "chained": written("OGG", "OPUS") + written("OGG", "VORBIS"),
    }  # fmt: skip


def mutated(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Damage the data in one to eight positions, most of them in the header."""
    damaged = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        reach = len(damaged) if random.random() < 0.4 else min(len(damaged), 200)
        if not reach:
            break
        at = int(random.integers(reach))
        size = int(random.integers(1, 64))
        match int(random.integers(7)):
            case 0:
                damaged[at] ^= 1 << int(random.integers(8))
            case 1:
                damaged[at : at + size] = random.bytes(size)
            case 2:
                form = ("<I", ">I", "<H", ">H")[int(random.integers(4))]
                width = struct.calcsize(form)
                value = EXTREMES[int(random.integers(len(EXTREMES)))] & (1 << 8 * width) - 1
                damaged[at : at + width] = struct.pack(form, value)
            case 3:
                del damaged[at : at + size]
            case 4:
                damaged[at:at] = damaged[at : at + size] * int(random.integers(1, 5))
            case 5:
                damaged[at : at + size] = other[at : at + size]
            case _:
                del damaged[max(at, 16) :]
    return bytes(damaged)


async def heard(number: int, data: bytes) -> str:
    """Decode the data, and return the outcome."""
    try:
        if number % 4:
            samples = (await decode(data, max_seconds=MAX_S)).samples
        else:
            recording = Recording(io.BytesIO(data), max_seconds=MAX_S)
            samples = np.concatenate(await asyncio.to_thread(lambda: list(recording.blocks())))
    except BadInput as error:
        return error.code
    except Exception as error:
        return f"! {type(error).__name__}: {error}"
    return "heard" if np.isfinite(samples).all() and np.abs(samples).max() <= 2 else "! not a number"


async def main() -> None:
    """Print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=4)
    wanted = parser.parse_args()
    random, files = np.random.default_rng(wanted.seed), list(seeds().items())
    await asyncio.to_thread(warm_up)
    before = processes._zygote._process
    outcomes: Counter[str] = Counter()
    slowest = (0.0, "")
    slots = asyncio.Semaphore(wanted.at_once)

    async def one(number: int) -> None:
        nonlocal slowest
        async with slots:
            name, data = files[number % len(files)]
            other = files[int(random.integers(len(files)))][1]
            data = mutated(data, other, random)
            began = time.perf_counter()
            outcome = await heard(number, data)
            slowest = max(slowest, (time.perf_counter() - began, name))
            outcomes[outcome] += 1
            if outcome.startswith("!"):
                print(f"{name} {number}: {outcome}", flush=True)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(wanted.files):
            group.create_task(one(number))
    lost = processes._zygote._process is not before or (before is not None and before.poll() is not None)
    print(
        f"{wanted.files} files of {len(files)} kinds, of {sound().seconds:g} s, in {time.perf_counter() - began:.0f} s"
    )
    print(", ".join(f"{name}: {count}" for name, count in outcomes.most_common()))
    print(f"slowest: {slowest[0]:.2f} s ({slowest[1]}); the zygote was {'lost' if lost else 'never lost'}")
    sys.exit(int(lost or any(name.startswith("!") for name in outcomes)))


if __name__ == "__main__":
    asyncio.run(main())
