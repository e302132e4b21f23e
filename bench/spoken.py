"""A local TTS engine: time to the first sound of a clause, CPU for a second of sound, and concurrent streams.

TTS_ENGINE=kokoro python -m bench.spoken [--rounds 3] [--streams 1 2 4]
"""

import argparse
import asyncio
import resource
import statistics
import time

import psutil

from pipeline.assistant import open_tts
from pipeline.settings import Settings
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice, Voices

CLAUSE = "The quick brown fox jumps over the lazy dog, and it is twenty five degrees in London."


def busy_s() -> float:
    """CPU seconds of this process's workers so far."""
    children = psutil.Process().children(recursive=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(sum(child.cpu_times()[:2]) for child in children) + ended.ru_utime + ended.ru_stime


async def spoken(engine: TextToSpeech, voice: Voice) -> tuple[float, float]:
    """Seconds until the first sound, and seconds of sound."""
    began, first, sound = time.perf_counter(), 0.0, 0.0
    async for clip in engine.speak(CLAUSE, voice=voice, language="en"):
        first = first or time.perf_counter() - began
        sound += clip.seconds
    return first, sound


async def measure(rounds: int, streams: list[int]) -> None:
    settings = Settings()
    voices = Voices.load(settings)
    async with open_tts(settings, lambda progress: None) as running:
        voices.add_built_in(running.voices)
        voice = voices.get(settings.voice_name)
        await spoken(running.engine, voice)
        for count in streams:
            firsts: list[float] = []
            sound, busy, began = 0.0, busy_s(), time.perf_counter()
            for _ in range(rounds):
                for first, seconds in await asyncio.gather(*(spoken(running.engine, voice) for _ in range(count))):
                    firsts.append(first)
                    sound += seconds
            wall = time.perf_counter() - began
            print(
                f"{running.info.engine}, {count} at a time: first sound {1000 * statistics.median(firsts):.0f} ms, "
                f"{(busy_s() - busy) / sound:.2f} s of CPU and {wall / sound:.2f} s of time for a second of sound"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    chosen = parser.parse_args()
    asyncio.run(measure(chosen.rounds, chosen.streams))


if __name__ == "__main__":
    main()
