"""eSpeak NG for the tests, the same samples for the same words in every run.

Its noise is drawn from a generator seeded by the clock, and its flutter goes on from one utterance to the next: at a
word that a recogniser hears narrowly, a test would fail now and then. Each utterance therefore comes from a process of
its own with a fixed seed (it could not be loaded here anyway: its state is in globals, and the product's own engine may
be in this process).
"""

import atexit
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np

from tests.models.training import synthesize


class Espeak:
    """As `tests.models.training.synthesize.Espeak`."""

    def say(self, text: str, voice: str, speed: int = 160, pitch: int = 50) -> np.ndarray:
        """The utterance as float32 samples at 16 kHz, without silence around it beyond what eSpeak makes."""
        return _process().submit(_say, text, voice, speed, pitch).result(60)


@cache
def _process() -> ProcessPoolExecutor:
    """One that has the imports done, and forks."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    atexit.register(pool.shutdown)
    return pool


def _say(text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as fresh:
        return fresh.submit(_say_first, text, voice, speed, pitch).result(60)


def _say_first(text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    espeak = synthesize.Espeak()
    espeak.seed(1)
    return espeak.say(text, voice, speed, pitch)
