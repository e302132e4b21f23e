"""A text that is spoken while it is still arriving."""

import asyncio
from collections.abc import AsyncGenerator

from pipeline.errors import BadInput, ParleyError
from pipeline.support.channel import Channel

MAX_TEXT_CHARS = 65_536
"""Longest text, an hour of speech."""
NEXT_TEXT_S = 120.0
"""Timeout for the next chunk of a text, usually from a language model, in seconds."""


class Texts:
    """The chunks of one text, in order."""

    def __init__(self, error: ParleyError | None = None) -> None:
        """error: for a text that cannot be spoken at all."""
        self._pieces: Channel[str] = Channel(MAX_TEXT_CHARS)  # each has at least one character
        self._chars = 0
        if error is not None:
            self.close(error)

    def add(self, text: str) -> None:
        """Add the next chunk; ignore it after `close`."""
        self._chars += len(text)
        if self._chars > MAX_TEXT_CHARS:
            self.close(BadInput(f"The text is longer than {MAX_TEXT_CHARS} characters.", code="message_too_large"))
        elif text:
            self._pieces.offer(text)

    def close(self, error: ParleyError | None = None) -> None:
        """End the text. error: the reason if it ends early. Further calls have no effect."""
        self._pieces.close(error)

    async def each(self) -> AsyncGenerator[str, None]:
        """Yield the chunks as they arrive. Raises the error given to `close`, or ParleyError (timeout)."""
        while True:
            try:
                async with asyncio.timeout(NEXT_TEXT_S):
                    piece = await anext(self._pieces, None)
            except TimeoutError:
                raise ParleyError(f"No more text arrived for {NEXT_TEXT_S:g} s.", code="timeout") from None
            if piece is None:
                return
            yield piece
