"""Write one insight with the language model; a long transcript in parts that fit its context."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

from jobs.insights.prompts import IN_PARTS, NOTES, PROMPTS, TOGETHER, prompt
from jobs.insights.rows import Insight
from jobs.result import named, segments_of
from pipeline.errors import EngineError
from pipeline.llm import Message, ReplyDelta
from pipeline.llm.prompt import BYTES_PER_TOKEN
from pipeline.support.encodable import encodable
from pipeline.transcripts.exports.document import Paragraph, clock, paragraphs

Reply = Callable[[Sequence[Message]], AsyncGenerator[ReplyDelta, None]]
TIMEOUT_S = 600.0
"""Timeout for one reply of the model, in seconds."""
MAX_REPLY_CHARS = 20_000
PROMPT_SHARE = 0.6
"""Share of the model's context for the transcript; the rest is for instructions, a user's prompt and the estimate's
error."""
TRANSLATED_SHARE = 0.6
"""Share of the longest reply that a part for translation has: its translation is about as long as it."""
CUT_OFF = "…"
"""End of a text that is longer than LLM_MAX_TOKENS allows."""
MIN_PART_BYTES = 400
"""A part for which the model's reply was cut off is halved down to this size."""
_TIME = re.compile(r"\[[0-9:]+\] ")
_BREAKS = ("。", "！", "？", " ")
"""Ends of sentences and words, where a long line is cut."""
MAX_LEVELS = 4
"""Times that notes on notes are taken, before they are cut."""


class Writer:
    """Writes insights with one language model."""

    def __init__(
        self, reply: Reply, *, context_tokens: int, reply_tokens: int, prompts: Mapping[str, str] = PROMPTS
    ) -> None:
        """context_tokens, reply_tokens: tokens of a prompt and of a reply that the deployment allows. prompts: the
        instruction of each kind."""
        self._reply = reply
        self._prompts = prompts
        self._room = max(MIN_PART_BYTES, int(context_tokens * BYTES_PER_TOKEN * PROMPT_SHARE))
        self._translated = max(MIN_PART_BYTES, int(reply_tokens * BYTES_PER_TOKEN * TRANSLATED_SHARE))

    async def write(
        self, insight: Insight, body: str, speakers: dict[str, str], told: Callable[[float], Awaitable[None]]
    ) -> str:
        """Return the text. body: the stored result. told: called with the share of the work that is done.

        Raises EngineError, Overloaded.
        """
        text, language = await asyncio.to_thread(_readable, body, speakers)
        task = insight.prompt or self._prompts[insight.kind]
        if insight.question:
            task = f"{task}\nThe question: {insight.question}"
        room = min(self._room, self._translated) if insight.kind == "translation" else self._room
        parts = _parts(text, room)
        language = insight.language or language
        if len(parts) <= 1:
            halves = insight.kind in IN_PARTS
            return await self._asked(task, language, parts[0] if parts else "", halves=halves)
        if insight.kind in IN_PARTS:
            return "\n\n".join(await self._each(task, language, parts, told))
        for _ in range(MAX_LEVELS):
            count = len(parts)
            tasks = [NOTES.format(number=number, count=count, task=task) for number in range(1, count + 1)]
            notes = "\n\n".join(await self._each(tasks, language, parts, told))
            parts = _parts(notes, room)
            if len(parts) <= 1 or len(parts) >= count:
                break
        return await self._asked(TOGETHER.format(task=task), language, parts[0] if parts else "")

    async def _each(
        self,
        tasks: str | Sequence[str],
        language: str | None,
        parts: Sequence[str],
        told: Callable[[float], Awaitable[None]],
    ) -> list[str]:
        found = []
        for number, part in enumerate(parts):
            task = tasks if isinstance(tasks, str) else tasks[number]
            found.append(await self._asked(task, language, part, halves=True))
            await told((number + 1) / (len(parts) + 1))
        return found

    async def _asked(self, task: str, language: str | None, text: str, *, halves: bool = False) -> str:
        """Return the model's reply to one prompt. halves: if it is cut off, ask for both halves of the text. Otherwise
        it ends with CUT_OFF then."""
        found, is_cut = "", False
        try:
            async with asyncio.timeout(TIMEOUT_S), aclosing(self._reply(prompt(task, language, text))) as deltas:
                async for delta in deltas:
                    found += delta.text
                    is_cut = delta.cut or len(found) > MAX_REPLY_CHARS
                    if is_cut:
                        break
        except TimeoutError:
            raise EngineError("The language model took too long.", code="timeout") from None
        size = len(text.encode())
        if is_cut and halves and size > MIN_PART_BYTES:
            parts = _parts(text, size // 2 + 1)
            return "\n".join([await self._asked(task, language, part, halves=True) for part in parts])
        written = encodable(found).replace("\0", "").strip()
        return f"{written} {CUT_OFF}" if is_cut else written


def _readable(body: str, speakers: dict[str, str]) -> tuple[str, str | None]:
    """Return the transcript as paragraphs with times and speakers, and its language."""
    result = named(json.loads(body), speakers)
    return "\n".join(map(_line, paragraphs(segments_of(result)))), result["language"]


def _line(paragraph: Paragraph) -> str:
    speaker = f"{paragraph.speaker}: " if paragraph.speaker else ""
    return f"[{clock(paragraph.start_s)}] {speaker}{paragraph.text}"


def _parts(text: str, room: int) -> list[str]:
    """Cut a text at lines into parts of at most `room` bytes; a longer line is cut."""
    found: list[str] = []
    size = room + 1
    for line in text.split("\n"):
        for piece in _pieces(line, room):
            needed = len(piece.encode()) + 1
            if size + needed > room:
                found.append(piece)
                size = needed
            else:
                found[-1] += f"\n{piece}"
                size += needed
    return [part for part in found if part.strip()]


def _pieces(line: str, room: int) -> list[str]:
    """Cut a line into pieces of less than `room` bytes, between sentences or words where there are some. Each piece
    begins with the time of the line."""
    data = line.encode()
    begins = _TIME.match(line)
    time = begins[0].encode() if begins else b""
    found, at = list[str](), 0
    while at < len(data):
        head = time if at else b""
        end = at + room - 1 - len(head)
        if end < len(data):
            while data[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
            ends = (place + len(mark.encode()) for mark in _BREAKS if (place := _last(data, mark, at, end)) >= 0)
            end = next(ends, end)
        found.append((head + data[at:end]).decode().strip())
        at = end
    return found or [""]


def _last(data: bytes, mark: str, at: int, end: int) -> int:
    """Return the last place of a mark in the second half of a piece, or -1."""
    return data.rfind(mark.encode(), (at + end) // 2, end)
