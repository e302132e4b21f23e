"""A text that is spoken while it is still being written."""

import asyncio
from collections.abc import AsyncGenerator

from pipeline.channel import Channel
from pipeline.errors import BadInput, ParleyError

MAX_TEXT_CHARS = 65_536
"""Of one text, which is an hour of speech."""
NEXT_TEXT_S = 120.0
"""Whoever writes it, a language model most often, has so long for the next piece."""


class Texts:
    """The pieces of one text, in order."""

    def __init__(self, error: ParleyError | None = None) -> None:
        """error: of a text that cannot be spoken, whatever comes."""
        self._pieces: Channel[str] = Channel(MAX_TEXT_CHARS)  # of a character or more each
        self._chars = 0
        if error is not None:
            self.close(error)

    def add(self, text: str) -> None:
        """The next piece; nothing of one that comes after the end."""
        self._chars += len(text)
        if self._chars > MAX_TEXT_CHARS:
            self.close(BadInput(f"The text is longer than {MAX_TEXT_CHARS} characters.", code="message_too_large"))
        elif text:
            self._pieces.offer(text)

    def close(self, error: ParleyError | None = None) -> None:
        """There is no more; error: why not. Another call changes nothing."""
        self._pieces.close(error)

    async def each(self) -> AsyncGenerator[str, None]:
        """The pieces as they come. Raises ParleyError: what it was closed with, or timeout when nothing comes."""
        while True:
            try:
                async with asyncio.timeout(NEXT_TEXT_S):
                    piece = await anext(self._pieces, None)
            except TimeoutError:
                raise ParleyError(f"Nothing more of the text came for {NEXT_TEXT_S:g} s.", code="timeout") from None
            if piece is None:
                return
            yield piece
