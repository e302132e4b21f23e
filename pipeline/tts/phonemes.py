"""Phonemes for the models that read them, from eSpeak NG in its own worker: the library is GPL-3."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.errors import EngineError
from pipeline.settings import Settings
from pipeline.tts.espeak import spec
from pipeline.workers import Serving, Worker, open_worker


class Phonemes:
    """Turns text into phonemes."""

    def __init__(self, worker: Worker, timeout_s: float) -> None:
        self._worker = worker
        self._timeout_s = timeout_s

    async def of(self, text: str, voice: str) -> str:
        """Return the phonemes of a text as IPA, punctuation kept. voice: eSpeak's ("en-us", "pt-br"). Raises
        EngineError, Overloaded."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return str(await self._worker.call("phonemes", text, voice))
        except TimeoutError:
            raise EngineError(f"eSpeak returned no phonemes for {self._timeout_s:g} s.", code="timeout") from None


@asynccontextmanager
async def open_phonemes(settings: Settings) -> AsyncIterator[Phonemes]:
    """Start eSpeak NG in its worker. Raises EngineError."""
    # On this machine also with MODEL_HOST=ray: it takes less time than a call of another machine.
    async with open_worker(spec(), settings, Serving(settings.tts_timeout_s), here=True) as worker:
        yield Phonemes(worker, settings.tts_timeout_s)
