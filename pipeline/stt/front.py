"""What the local recognisers have in common on this side of their worker: the call and its deadline."""

import asyncio

from pipeline.audio import Clip
from pipeline.errors import EngineError
from pipeline.stt import Transcript
from pipeline.workers import Worker


class WorkerFront:
    """A recogniser behind a worker, as `pipeline.stt.SpeechToText`.

    The engine in the worker has `transcribe(clip, language, prompt, words) -> Transcript`, an ordinary method.
    """

    def __init__(self, worker: Worker, name: str, timeout_s: float) -> None:
        self._worker = worker
        self._name = name
        self._timeout_s = timeout_s

    async def transcribe(self, clip: Clip, *, language: str | None, prompt: str | None, words: bool) -> Transcript:
        """See the Protocol. Raises EngineError (timeout) when waiting and decoding together take too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                transcript = await self._worker.call("transcribe", clip, language, prompt, words)
        except TimeoutError:
            raise EngineError(f"{self._name} gave no text for {self._timeout_s:g} s.", code="timeout") from None
        assert isinstance(transcript, Transcript)  # noqa: S101  # what the engines return
        return transcript
