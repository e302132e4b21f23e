"""What the local recognisers have in common on this side of their worker: the call and its deadline."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

from pipeline.audio import Clip
from pipeline.errors import EngineError
from pipeline.stt import Transcript
from pipeline.workers import Worker


class WorkerFront:
    """A recogniser behind a worker, as `pipeline.stt.SpeechToText`.

    The engine in the worker has `transcribe(clip, language, prompt, words)`, a generator that yields None wherever it
    may be cancelled, and at its end the Transcript.
    """

    def __init__(self, worker: Worker, name: str, timeout_s: float) -> None:
        self._worker = worker
        self._name = name
        self._timeout_s = timeout_s

    async def transcribe(self, clip: Clip, *, language: str | None, prompt: str | None, words: bool) -> Transcript:
        """See the Protocol. Raises EngineError (timeout) when waiting and decoding together take too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                async with aclosing(self._worker.stream("transcribe", clip, language, prompt, words)) as steps:
                    async for step in steps:
                        if isinstance(step, Transcript):
                            return step
        except TimeoutError:
            raise EngineError(f"{self._name} gave no text for {self._timeout_s:g} s.", code="timeout") from None
        raise AssertionError("an engine ends with its transcript")


def last(steps: Iterator[Transcript | None]) -> Transcript:
    """The transcript at the end of an engine's steps, for callers without a worker."""
    *_, transcript = steps
    assert transcript is not None  # noqa: S101  # see WorkerFront
    return transcript
