"""What language models behind a server have in common: deadlines, thinking nobody must hear, the user's language."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from pipeline.errors import EngineError
from pipeline.llm import Message, ReplyDelta
from pipeline.llm.languages import NAMES
from pipeline.settings import Settings

T = TypeVar("T")

_OPENINGS = ("<think>", "<thinking>")


async def with_deadlines(
    chunks: AsyncGenerator[T, None], *, server: str, first_s: float, between_s: float, speaks: Callable[[T], bool]
) -> AsyncGenerator[T, None]:
    """Pass the chunks on; raise EngineError (code timeout) when the model is silent for too long.

    Until the first chunk that `speaks` there are `first_s` seconds in all, whatever else arrives (a model may think);
    after it, each chunk may take `between_s`. Closes `chunks` in any case.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    speaking = False
    async with aclosing(chunks):
        while True:
            try:
                async with asyncio.timeout_at(loop.time() + between_s if speaking else begun + first_s):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                waited = (
                    f"stopped in mid-reply for {between_s:g} s" if speaking else f"said nothing within {first_s:g} s"
                )
                raise EngineError(f"{server} {waited}.", code="timeout") from None
            speaking = speaking or speaks(chunk)
            yield chunk


async def in_time(
    deltas: AsyncGenerator[ReplyDelta, None], *, server: str, settings: Settings
) -> AsyncGenerator[ReplyDelta, None]:
    """The deltas that say something, within the deadlines of the settings. Raises as `with_deadlines`."""
    timed = with_deadlines(
        deltas,
        server=server,
        first_s=settings.llm_first_token_timeout_s,
        between_s=settings.llm_token_timeout_s,
        speaks=lambda delta: bool(delta.text or delta.calls),
    )
    async with aclosing(timed):
        async for delta in timed:
            if delta.text or delta.usage or delta.calls:
                yield delta


class WithoutThinking:
    """Drops a <think>…</think> block, and the space around it, from the beginning of a reply that comes in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._closing: str | None = None
        self._speaking = False

    def feed(self, text: str) -> str:
        """What of the reply is certain to be meant for the user, up to here."""
        if self._speaking:
            return text
        self._held = (self._held + text).lstrip()
        if self._closing is None:
            opening = next((tag for tag in _OPENINGS if self._held.startswith(tag)), None)
            if opening is not None:
                self._closing = opening.replace("<", "</")
            elif any(tag.startswith(self._held) for tag in _OPENINGS):
                return ""
        if self._closing is not None:
            _, found, answer = self._held.partition(self._closing)
            if not found:
                # Only a tag that is cut in two can still matter.
                self._held = self._held[-len(self._closing) :]
                return ""
            self._held, self._closing = "", None
            return self.feed(answer)
        self._speaking = True
        self._held, answer = "", self._held
        return answer

    def finish(self) -> str:
        """What was held back and turned out to be the reply."""
        held, self._held = self._held, ""
        return "" if self._closing is not None else held


def in_the_users_language(messages: Sequence[Message]) -> list[Message]:
    """The messages, the system message telling the language in which the user spoke last, if it is known."""
    asked = next((message for message in reversed(messages) if message.role == "user"), None)
    name = NAMES.get((asked.language or "")[:2].lower()) if asked else None
    if name is None:
        return list(messages)
    instruction = f"The user is speaking {name}. Answer in {name}."
    if messages[0].role == "system":
        return [replace(messages[0], content=f"{messages[0].content}\n{instruction}".strip()), *messages[1:]]
    return [Message("system", instruction), *messages]


def one_line(text: object, limit: int = 200) -> str:
    """A server's error text, fit for one sentence."""
    line = " ".join(str(text).split()).rstrip(".")
    return line if len(line) <= limit else line[:limit] + "…"
