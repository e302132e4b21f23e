"""The language model's rounds in one turn: its text, and the calls of functions between them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.errors import StageFailed
from pipeline.llm import AS_SET, Generation, LanguageModel, Message, ReplyDelta, Tool, ToolCall
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.support.encodable import encodable
from pipeline.support.phrases import ONE_MOMENT, phrase
from pipeline.telemetry import metrics
from pipeline.tools import Company, Outcome, Toolbox

TOOL_SILENCE_S = 0.7
"""Seconds of a function call after which the assistant says that it takes a moment: a longer silence sounds broken."""
TOOL_ROUNDS = 5
"""Limit of rounds of function calls in a turn: a model that only calls functions would never reply."""


class ToolRounds:
    """Ask the model, run the functions that it calls, and ask it again with their results."""

    def __init__(
        self,
        llm: LanguageModel,
        tools: Toolbox,
        *,
        company: Company | None,
        committed: asyncio.Event | None,
        out: Channel[Event],
        generation: Generation = AS_SET,
    ) -> None:
        """company, committed: see `Turn`. out: receives the events of the calls."""
        self._llm, self._tools, self._company, self._committed, self._out = llm, tools, company, committed, out
        self._generation = generation
        self.handed_over = False
        """Whether the reply ended with a function call that the client runs."""
        self.called = False
        """Whether functions were called: that counts as a reply, even if the model says nothing about it."""

    async def deltas(
        self, messages: list[Message], language: str | None, *, is_silent: Callable[[], bool]
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Yield the reply; run the functions that the model calls in between.

        is_silent: whether the reply has no text yet, so that a long call needs words meanwhile.
        """
        for round in range(TOOL_ROUNDS):
            tools: Sequence[Tool] = ()
            # A required call is required once: the round after it is the reply.
            if round == 0 or self._tools.choice == "auto":
                tools = self._tools.tools(live=self._company is not None)
            must_call = round == 0 and bool(tools) and self._tools.choice not in ("auto", "none")
            calls: list[ToolCall] = []
            said = ""
            with metrics.stage("llm") as stage:
                replying = self._llm.reply(messages, tools=tools, must_call=must_call, generation=self._generation)
                async with aclosing(replying) as deltas:
                    async for delta in deltas:
                        if delta.text or delta.calls:
                            stage.first()
                        calls += [_encodable(call) for call in delta.calls]
                        said += delta.text
                        yield delta
            if not calls:
                return
            messages = [*messages, Message("assistant", said, calls=tuple(calls))]
            for call in calls:
                if self._tools.is_client(call.name):
                    self.handed_over = True
                    await self._out.send(events.ToolCalled(call))
                    continue
                self.called = True
                if is_silent() and (words := self._words_meanwhile(call, language)) is not None:
                    async with background(self._call(call)) as running:
                        done, _ = await asyncio.wait([running], timeout=TOOL_SILENCE_S)
                        if not done:
                            yield ReplyDelta(words)
                        outcome = await running
                else:
                    outcome = await self._call(call)
                messages.append(Message("tool", outcome.output, call_id=call.id))
            if self.handed_over:
                return
        raise StageFailed("The language model keeps calling functions without a reply.", code="llm_unavailable")

    def _words_meanwhile(self, call: ToolCall, language: str | None) -> str | None:
        return phrase(ONE_MOMENT, language)[0] + " " if self._tools.function(call.name) else None

    async def _call(self, call: ToolCall) -> Outcome:
        """Run a function here, with events for its start and its end."""
        function = self._tools.function(call.name)
        server = function.server if function else ""
        if function is not None and function.side_effects and self._committed is not None:
            await self._committed.wait()
        await self._out.send(events.ToolStarted(call, server))
        with metrics.stage("tool"):
            outcome = await self._tools.call(call, self._company)
        await self._out.send(events.ToolEnded(call, server, outcome.output, outcome.failed))
        return outcome


def _encodable(call: ToolCall) -> ToolCall:
    return ToolCall(encodable(call.id), encodable(call.name), encodable(call.arguments))
