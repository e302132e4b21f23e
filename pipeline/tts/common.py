"""Helpers for the service's side of the engines: speakable text, and deadlines."""

import asyncio
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from pipeline import tts
from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.voices.catalogue import Voice
from pipeline.workers import Worker

T = TypeVar("T")

_NOT_TEXT = frozenset({"Cc", "Cs", "Co", "Cn"})
"""Unicode categories of control characters (eSpeak interprets some as commands), lone surrogates, and private or
unassigned code points."""


def clean(text: str) -> str:
    """Return the speakable part of a text: one line without control characters; "" if it has neither letter nor digit.

    A lone symbol or an emoji is not speech: neural voices babble, and eSpeak reads its name.
    """
    line = " ".join("".join(" " if unicodedata.category(char) in _NOT_TEXT else char for char in text).split())
    return line if any(char.isalnum() for char in line) else ""


async def within(items: AsyncGenerator[T, None], timeout_s: float, engine: str) -> AsyncGenerator[T, None]:
    """Yield the items, each within `timeout_s` of its request; close `items` in any case.

    Raises EngineError (timeout).
    """
    async with aclosing(items):
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise EngineError(f"{engine} produced no sound for {timeout_s:g} s.", code="timeout") from None
            yield item


async def sounding(items: AsyncGenerator[T | None, None]) -> AsyncGenerator[T, None]:
    """Yield the items that are not None. An engine yields None at points where it can stop but has no sound yet."""
    async with aclosing(items):
        async for item in items:
            if item is not None:
                yield item


class WorkerSpeech(ABC):
    """An engine in a worker, as `pipeline.tts.TextToSpeech`. A subclass says what to ask it for."""

    follows_instructions = False
    reads_ipa = False

    def __init__(self, worker: Worker, name: str) -> None:
        """name: of the engine, for errors."""
        self._worker = worker
        self._name = name

    @abstractmethod
    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        """Return the arguments of the engine's `speak`. said: see `clean`, not empty. Raises EngineError
        (unsupported_language)."""

    @abstractmethod
    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        """Yield no clip for text without a letter or digit. Raises EngineError (unsupported_language, timeout),
        Overloaded."""
        if said := clean(text):
            stream = self._worker.stream("speak", *await self._request(said, voice, language))
            async with aclosing(within(sounding(stream), tts.TIMEOUT_S, self._name)) as clips:
                async for clip in clips:
                    yield clip
