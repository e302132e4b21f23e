"""eSpeak NG for the tests, with the same samples for the same words in every run.

eSpeak seeds its noise by the clock and continues its flutter from one utterance to the next, so that a word which the
recogniser barely gets right would fail now and then. Each utterance therefore comes from a fresh process with a fixed
seed. (eSpeak cannot be loaded in this process anyway: its state is in globals, and the product's engine may use them.)
"""

import atexit
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np

from tests.models.training import synthesize


class Espeak:
    """Replacement for `tests.models.training.synthesize.Espeak`."""

    def say(self, text: str, voice: str, speed: int = 160, pitch: int = 50) -> np.ndarray:
        """Return the utterance as float32 samples at 16 kHz, with only the silence that eSpeak makes."""
        return _process().submit(_say, text, voice, speed, pitch).result(60)


@cache
def _process() -> ProcessPoolExecutor:
    """Return a process that has done the imports and forks for each utterance."""
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
