"""What the engines have in common on this side of their worker or server: text that can be said, and deadlines."""

import asyncio
import unicodedata
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from pipeline.errors import EngineError

T = TypeVar("T")

_NOT_TEXT = frozenset({"Cc", "Cs", "Co", "Cn"})
"""Unicode categories of control characters (eSpeak takes some for commands), lone surrogates and code points that are
no character."""


def clean(text: str) -> str:
    """What of a text can be said: one line without control characters; "" when no letter and no digit is in it.

    A lone symbol or an emoji makes neural voices babble and eSpeak read its name: it is not speech.
    """
    line = " ".join("".join(" " if unicodedata.category(char) in _NOT_TEXT else char for char in text).split())
    return line if any(char.isalnum() for char in line) else ""


async def within(items: AsyncGenerator[T, None], timeout_s: float, engine: str) -> AsyncGenerator[T, None]:
    """The same items, the first and every next one within `timeout_s` of being asked for; closes `items` in any case.

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
                raise EngineError(f"{engine} gave no sound for {timeout_s:g} s.", code="timeout") from None
            yield item


async def sounding(items: AsyncGenerator[T | None, None]) -> AsyncGenerator[T, None]:
    """The items that are not None. An engine yields None at points where it can stop but has no sound yet."""
    async with aclosing(items):
        async for item in items:
            if item is not None:
                yield item
