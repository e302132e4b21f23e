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
        return _processes().submit(_say, text, voice, speed, pitch).result(60)


@cache
def _processes() -> ProcessPoolExecutor:
    """One process after the other, each forked from a server that has the imports done."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.models.training.synthesize"])
    pool = ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1)
    atexit.register(pool.shutdown)
    return pool


def _say(text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    espeak = synthesize.Espeak()
    espeak.seed(1)
    return espeak.say(text, voice, speed, pitch)
