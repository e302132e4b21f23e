"""A voice that waits."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import numpy as np

from bench.waiting import STAGES_VARIABLE
from bench.waiting.stt import waiting
from pipeline import tts
from pipeline.audio.clip import Clip
from pipeline.engines import Opened
from pipeline.settings import Settings
from pipeline.support.progress import Report
from pipeline.tts.common import WorkerSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers import EngineSpec, Serving, open_worker

RATE_HZ = 24_000
WORD_S = 0.3
"""Speech of a word, in seconds."""


class Mouth:
    """The engine in the worker."""

    def __init__(self, config: float) -> None:
        """config: seconds for each clause."""
        self._seconds = config

    def speak(self, text: str) -> Iterator[Clip | None]:
        yield from waiting(self._seconds)
        yield Clip(np.full(int(WORD_S * len(text.split()) * RATE_HZ), 0.1, np.float32), RATE_HZ)


class WaitingSpeech(WorkerSpeech):
    """See `pipeline.tts.TextToSpeech`."""

    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        return (said,)

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        return True


async def probe(settings: Settings) -> None:
    """Return: it runs anywhere."""


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[WaitingSpeech]]:
    """Start the engine in its worker."""
    seconds = json.loads(os.environ[STAGES_VARIABLE])["first_audio_s"]
    spec = EngineSpec("waiting-tts", "bench.waiting.tts:Mouth", seconds)
    async with open_worker(spec, settings, Serving(tts.TIMEOUT_S, settings.tts_replicas)) as worker:
        yield Opened(WaitingSpeech(worker, "waiting"), "waiting", "cpu", worker.load, ["en"])
