"""A recogniser that waits."""

import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from bench.waiting import STAGES_VARIABLE
from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.engines import Opened
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Hinted, Segment, SpeechToText, Spoken, Transcript
from pipeline.stt.worker_client import WorkerFront
from pipeline.support.progress import Report
from pipeline.workers import EngineSpec, Serving, open_worker

TEXT = "what does the heron do"
STEP_S = 0.02
"""Time between two moments at which it can be cancelled, in seconds."""


def waiting(seconds: float) -> Iterator[None]:
    """Wait, with an item for each step."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(STEP_S, left))
        yield None


class Ears:
    """The engine in the worker."""

    def __init__(self, config: float) -> None:
        """config: seconds for each call."""
        self._seconds = config

    def transcribe(self, clip: Clip, language: Spoken, prompt: Hinted, words: bool) -> Iterator[Transcript | None]:
        yield from waiting(self._seconds)
        yield Transcript(TEXT, "en", clip.seconds)

    def segments(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        yield from waiting(self._seconds)
        yield Segment(0.0, window.seconds, TEXT, "en")


async def probe(settings: Settings) -> None:
    """Return: it runs anywhere."""


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Start the engine in its worker."""
    seconds = json.loads(os.environ[STAGES_VARIABLE])["stt_s"]
    spec = EngineSpec("waiting-stt", "bench.waiting.stt:Ears", seconds)
    async with open_worker(spec, settings, Serving(stt.TIMEOUT_S, settings.stt_replicas or 1)) as worker:
        front = WorkerFront(worker, "waiting")
        yield Opened(front, "waiting", "cpu", worker.load, ["en"])
