"""eSpeak NG for the tests, in one process of its own: its library keeps its state in globals, and the product's own
engine may be loaded into the tests' process.
"""

import atexit
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np

from tests.models.training import synthesize


class Espeak:
    """As `tests.models.training.synthesize.Espeak`; all objects share the one process."""

    def say(self, text: str, voice: str, speed: int = 160, pitch: int = 50) -> np.ndarray:
        """The utterance as float32 samples at 16 kHz, without silence around it beyond what eSpeak makes."""
        return _process().submit(_say, text, voice, speed, pitch).result(60)


@cache
def _process() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    atexit.register(pool.shutdown)
    return pool


@cache
def _engine() -> synthesize.Espeak:
    return synthesize.Espeak()


def _say(text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    return _engine().say(text, voice, speed, pitch)
