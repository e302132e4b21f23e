"""The service's side of a local recogniser: calls to its worker, and their deadlines."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TypeVar

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.stt import FileRequest, Hinted, Segment, Spoken, Transcript, WindowLimits
from pipeline.workers import Worker

T = TypeVar("T")

MAX_QUEUE_S = 3600.0
"""Maximum wait of a window of a file for its turn, in seconds: conversations go first."""
GATHER_S = 0.01
"""While many users speak, seconds that a batch waits for as many utterances as the previous one had. A single utterance
never waits."""


class WorkerFront:
    """A recogniser behind a worker, as `pipeline.stt.SpeechToText`.

    The engine in the worker has two generators, which yield None where they can be cancelled:
    `transcribe(clip, language, prompt, words)`, which ends with the Transcript, and `segments(clip, request)`, which
    yields None as soon as its turn comes, and then Segments.
    """

    def __init__(self, worker: Worker, name: str, limits: WindowLimits | None = None) -> None:
        self._worker = worker
        self._name = name
        self.limits = limits or WindowLimits()

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        """See the Protocol. Raises EngineError (timeout) when one step takes too long; waiting for the turn is not a
        step."""
        deadline_s = MAX_QUEUE_S
        async with aclosing(self._worker.stream("segments", window, request)) as steps:
            while True:
                try:
                    async with asyncio.timeout(deadline_s):
                        step = await anext(steps)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise EngineError(f"{self._name} returned no text in {deadline_s:g} s.", code="timeout") from None
                deadline_s = stt.TIMEOUT_S
                if step is not None:
                    yield step

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        """See the Protocol. Raises EngineError (timeout) when waiting and decoding together take too long."""
        try:
            async with asyncio.timeout(stt.TIMEOUT_S):
                async with aclosing(self._worker.stream("transcribe", clip, language, prompt, words)) as steps:
                    async for step in steps:
                        if isinstance(step, Transcript):
                            return step
        except TimeoutError:
            raise EngineError(f"{self._name} returned no text in {stt.TIMEOUT_S:g} s.", code="timeout") from None
        raise AssertionError("an engine ends with its transcript")


class TellingFront(WorkerFront):
    """A front for an engine in the worker that also has `language_of(clip)`; a `TellsLanguage`."""

    async def language_of(self, clip: Clip) -> tuple[str, float]:
        """See `TellsLanguage`. Raises EngineError (timeout) when waiting and detecting together take too long."""
        try:
            async with asyncio.timeout(MAX_QUEUE_S):
                language, probability = await self._worker.call("language_of", clip)
        except TimeoutError:
            raise EngineError(f"{self._name} returned no language within {MAX_QUEUE_S:g} s.", code="timeout") from None
        return language, probability


def alone(steps: Iterator[tuple[int, T | Exception | None]]) -> Iterator[T | None]:
    """Yield the items of a batch of one call (see `pipeline.workers.run_calls`); raise its exception."""
    for _, step in steps:
        if isinstance(step, Exception):
            raise step
        yield step


def last(steps: Iterator[Transcript | None]) -> Transcript:
    """Return the transcript at the end of an engine's steps, for callers without a worker."""
    *_, transcript = steps
    assert transcript is not None  # noqa: S101  # see WorkerFront
    return transcript
