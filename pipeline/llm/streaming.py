"""Common base of language models on a server: requests, reads, cleans and limits a reply."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import EngineError
from pipeline.llm import AS_SET, CLOCK, Generation, Message, ReplyDelta, Tool, ToolCall, Usage
from pipeline.llm.prompt import alternating, estimated_tokens, in_the_users_language, shortened, with_date
from pipeline.llm.reading import Calls, with_ids
from pipeline.llm.reply import ReplyText
from pipeline.llm.stopping import Stop

if TYPE_CHECKING:
    from pipeline.settings import Settings

T = TypeVar("T")

CONNECT_TIMEOUT_S = 3.0
"""Timeout for connecting to the language model, in seconds; it is usually near."""
FIRST_TOKEN_TIMEOUT_S = 60.0
"""Timeout from the request to the first token, in seconds: a cold model loads in this time."""
TOKEN_TIMEOUT_S = 15.0
"""Timeout between two tokens, in seconds: a longer pause in a spoken reply is a failure."""
MAX_TOKEN_BYTES = 8
"""Upper bound for the average token of any tokeniser."""
MIN_TOKEN_BYTES = 2
"""Lower bound, for a server that sends more chunks than the token limit: its chunks are shorter than its tokens."""
COUNT_S = 1.0
"""Timeout for the end of the stream and the token count, once the reply is complete."""
MAX_OTHERS = 32
"""Limit of models of one server whose habits are remembered."""
FORGETTING = 3
"""Consecutive held replies without a thought after which replies are no longer held."""

_THINKS_FIRST = re.compile(r"deepseek-?r1|r1-distill|qwq|[-_:]thinking\b", re.IGNORECASE)
"""Models whose chat templates open the thought in the prompt, so that the reply contains only its end."""

_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window|limit)|exceeds? the (?:available |maximum )?context|context[ _]overflow"
    r"|exceed_context|overflows? the context|n_ctx|max_seq_len|max_model_len|context the overflows"
    r"|context is (?:too long|full)|prompt (?:is|was) too (?:long|large)|prompt too (?:long|large)"
    r"|(?:input|prompt|messages?|request|conversation)\b.{0,40}\btoo (?:long|large|many tokens)"
    r"|too many (?:input )?tokens|max_new_tokens.{0,10} must be|must have less than \d+ tokens"
    r"|inputs? (?:tokens|length).{0,80}(?:must|exceed|max|long)"
    r"|tokens? .{0,60}(?:exceed|longer than|greater than|larger than|more than).{0,60}(?:max|limit|context|allowed)"
    r"|exceed\w* .{0,60}(?:max\w* (?:number of )?tokens|token limit|maximum (?:input|context|prompt))"
    r"|reduce the length of",
    re.IGNORECASE | re.DOTALL,
)
"""Wordings of llama.cpp, vLLM, SGLang, TGI, LM Studio, TabbyAPI, Ollama, OpenAI, Mistral, Anthropic and Google."""


class ContextExceeded(EngineError):
    """The conversation is too long for the context of the server's model."""


def is_too_long(status: int | None, reason: str) -> bool:
    """Whether a server refused a request because its messages are too long."""
    return status == 413 or (status not in (401, 403, 404, 429) and _TOO_LONG.search(reason[:4000]) is not None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Content of one value in a server's stream."""

    text: str = ""
    calls: Sequence[object] = ()
    """Chunks of calls, as `Calls.take` reads them."""
    usage: Usage | None = None
    finished: bool = False
    """The reply is complete; the token count can still follow."""
    cut: bool = False
    """The reply ended at its token limit."""


class ServedModel(ABC):
    """One model on one server, for all sessions; see `pipeline.llm.LanguageModel`."""

    def __init__(self, server: str, model: str, settings: "Settings") -> None:
        """server: the server's name at the start of an error message."""
        self._server = server
        self._model = model
        self._settings = settings
        self._context: int | None = None
        """Estimated tokens that fit in the server's context; None: it has never refused a request as too long."""
        self._thinks_first = _THINKS_FIRST.search(model) is not None
        self._not_thought = FORGETTING - 1
        """Consecutive held replies without a thought. Starts high, so that a guess from the model's name is soon
        dropped."""
        self._others: dict[str, ServedModel] = {}

    def _other(self, name: str) -> "ServedModel":
        """Return another model of this server, which remembers its own habits (thoughts, the size of its context)."""
        if name not in self._others:
            while len(self._others) >= MAX_OTHERS:
                del self._others[next(iter(self._others))]
            self._others[name] = self._sibling(name)
        return self._others[name]

    def _sibling(self, name: str) -> "ServedModel":
        """Create the same for another model, on the same client; an engine with one model returns itself."""
        return self

    def _dated(self, messages: Sequence[Message], tools: Sequence[Tool], *, calls_tools: bool = True) -> list[Message]:
        """Return the messages with the date, and the time unless the model can ask for it. calls_tools: whether the
        model can call the tools."""
        asks = calls_tools and any(tool.name == CLOCK for tool in tools)
        return with_date(messages, with_time=not asks)

    @abstractmethod
    def _pieces(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> AsyncGenerator[Piece, None]:
        """Send one request. Closing the generator closes the connection, which makes the server stop.

        generation: its `max_tokens` is the limit of this reply, and its `stop` is for `_one`, not for the server, which
        would find it in thoughts, too. Raises ContextExceeded, or EngineError with one helpful sentence.
        """

    def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the reply; see `LanguageModel.reply`."""
        if generation.llm_model not in (None, self._model):
            own = replace(generation, llm_model=None)
            return self._other(str(generation.llm_model)).reply(
                messages, tools=tools, must_call=must_call, generation=own
            )
        most = self._settings.llm_max_tokens
        limited = replace(generation, max_tokens=min(most, generation.max_tokens or most))
        deltas = self._deltas(messages, tools, must_call, limited)
        return in_time(deltas, server=self._server)

    async def _deltas(
        self, messages: Sequence[Message], tools: Sequence[Tool], must_call: bool, generation: Generation
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Yield a delta for each chunk, empty while the model thinks. Retry with fewer turns if there are too many."""
        told = alternating(in_the_users_language(messages))
        taken = {call.id for message in told for call in message.calls}
        if self._context is not None:
            told = shortened(told, self._context)
        limit = self._context
        said = False
        while True:
            try:
                async with aclosing(self._one(told, tools, must_call, generation, taken)) as deltas:
                    async for delta in deltas:
                        self._context = limit
                        said = said or bool(delta.text or delta.calls)
                        yield delta
                return
            except ContextExceeded:
                if said:
                    raise
                limit = sum(map(estimated_tokens, told)) // 2
                fewer = shortened(told, limit)
                while len(fewer) == len(told) and limit > 0:  # the last turns are short
                    limit //= 2
                    fewer = shortened(told, limit)
                if len(fewer) == len(told):
                    raise
                told = fewer

    async def _one(
        self,
        told: Sequence[Message],
        tools: Sequence[Tool],
        must_call: bool,
        generation: Generation,
        taken: set[str],
    ) -> AsyncGenerator[ReplyDelta, None]:
        names = [tool.name for tool in tools]
        text, calls = ReplyText(names, thinks_first=self._thinks_first), Calls(names)
        usage: Usage | None = None
        finished = cut = False
        limit = _Limit(generation.max_tokens or self._settings.llm_max_tokens)
        stop = Stop(generation.stop)
        try:
            async with aclosing(self._pieces(told, tools, must_call, generation)) as pieces:
                while True:
                    try:
                        async with asyncio.timeout(COUNT_S if finished else None):
                            piece = await anext(pieces)
                    except StopAsyncIteration:
                        break
                    except (TimeoutError, EngineError):
                        if not finished:
                            raise
                        break
                    for call in piece.calls:
                        calls.take(call)
                    usage = piece.usage or usage
                    finished, cut = finished or piece.finished, cut or piece.cut
                    yield ReplyDelta(stop.feed(text.feed(limit.kept(piece.text))), calls=_made(text, taken))
                    if text.over or limit.reached or stop.reached:
                        finished = True
                        break
            if not finished:
                raise EngineError(f"{self._server} ended the stream before the reply was complete.")
            rest = stop.feed(text.finish()) + stop.finish()
            called = () if stop.reached else (*_made(text, taken), *with_ids(calls.whole(), taken))
            yield ReplyDelta(rest, usage, called, cut=(cut or limit.reached) and not stop.reached)
        finally:
            self._learn(text)  # also from a reply that was interrupted

    def _learn(self, text: ReplyText) -> None:
        """Note whether the reply contained only the end of a thought; if so, later replies are held until that end."""
        if text.closed_unopened:
            self._thinks_first, self._not_thought = True, 0
        elif self._thinks_first and text.closed_unopened is False:
            self._not_thought += 1
            self._thinks_first = self._not_thought < FORGETTING


def _made(text: ReplyText, taken: set[str]) -> tuple[ToolCall, ...]:
    """Take the calls found in the text since the last time, and give them ids."""
    calls, text.calls = text.calls, []
    return with_ids(calls, taken) if calls else ()


class _Limit:
    """Ends a reply after `max_tokens` where the server does not. There is no tokeniser here, so only a reply that is
    too long for that many tokens of any tokeniser is cut.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._pieces = self._bytes = 0
        self.reached = False

    def kept(self, text: str) -> str:
        """Return the part of the next chunk that is within the limit."""
        self._pieces += bool(text)
        self._bytes += len(text.encode(errors="replace"))
        fine = self._pieces > self._max_tokens
        over = self._bytes - self._max_tokens * (MIN_TOKEN_BYTES if fine else MAX_TOKEN_BYTES)
        self.reached = over > 0
        return text[: max(0, len(text) - over)] if over > 0 else text


async def with_deadlines(
    chunks: AsyncGenerator[T, None], *, server: str, first_s: float, between_s: float, speaks: Callable[[T], bool]
) -> AsyncGenerator[T, None]:
    """Pass the chunks on; raise EngineError (code timeout) when the model is silent for too long.

    The first chunk that `speaks` must arrive within `first_s` seconds, regardless of other chunks (a model can think
    first). Each chunk after it must arrive within `between_s`. Closes `chunks` in any case.
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
                    f"paused during the reply for {between_s:g} s"
                    if speaking
                    else f"did not start the reply within {first_s:g} s"
                )
                raise EngineError(f"{server} {waited}.", code="timeout") from None
            speaking = speaking or speaks(chunk)
            yield chunk


async def in_time(deltas: AsyncGenerator[ReplyDelta, None], *, server: str) -> AsyncGenerator[ReplyDelta, None]:
    """Yield the deltas that contain something, within the timeouts. Raises like `with_deadlines`."""
    timed = with_deadlines(
        deltas,
        server=server,
        first_s=FIRST_TOKEN_TIMEOUT_S,
        between_s=TOKEN_TIMEOUT_S,
        speaks=lambda delta: bool(delta.text or delta.calls),
    )
    async with aclosing(timed):
        async for delta in timed:
            if delta.text or delta.usage or delta.calls or delta.cut:
                yield delta


def one_line(text: object, limit: int = 200) -> str:
    """Shorten a server's error text to fit into one sentence."""
    line = " ".join(str(text).split()).rstrip(".")
    return line if len(line) <= limit else line[:limit] + "…"
