"""Phonemes for the models that read them, from eSpeak NG in its own worker: the library is GPL-3."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline import tts
from pipeline.errors import EngineError
from pipeline.settings import Settings
from pipeline.tts.espeak import spec
from pipeline.workers import Serving, Worker, open_worker

_MARKED = re.compile(r"\u27e6([^\u27e6\u27e7]*)\u27e7")
"""IPA inside a text. `pipeline.speech.normalise` removes these brackets from texts of users."""


def as_ipa(phonemes: str) -> str:
    """Return IPA, marked for `Phonemes.of`, to put in place of a word."""
    return f"\u27e6{phonemes}\u27e7"


class Phonemes:
    """Turns text into phonemes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def of(self, text: str, voice: str) -> str:
        """Return the phonemes of a text as IPA, punctuation and marked IPA kept. voice: eSpeak's ("en-us", "pt-br").
        Raises EngineError, Overloaded."""
        try:
            async with asyncio.timeout(tts.TIMEOUT_S):
                parts = _MARKED.split(text)  # text and IPA in turn
                for index in range(0, len(parts), 2):
                    parts[index] = await self._phonemes(parts[index], voice)
                return "".join(parts)
        except TimeoutError:
            raise EngineError(f"eSpeak returned no phonemes for {tts.TIMEOUT_S:g} s.", code="timeout") from None

    async def _phonemes(self, text: str, voice: str) -> str:
        """Return the phonemes of a text, with the spaces around it."""
        said = text.strip()
        if not said:
            return text
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return f"{before}{await self._worker.call('phonemes', said, voice)}{after}"


@asynccontextmanager
async def open_phonemes(settings: Settings) -> AsyncIterator[Phonemes]:
    """Start eSpeak NG in its worker. Raises EngineError."""
    # On this machine also with MODEL_HOST=ray: it takes less time than a call of another machine.
    async with open_worker(spec(), settings, Serving(tts.TIMEOUT_S), here=True) as worker:
        yield Phonemes(worker)
