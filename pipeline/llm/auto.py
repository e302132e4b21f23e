"""`LLM_ENGINE=auto`: Ollama while it is reachable, otherwise the built-in responder, without a restart."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from pipeline.engines import EngineInfo, Running, load, note, open_best, open_named
from pipeline.errors import EngineError, EngineUnavailable, ParleyError
from pipeline.llm import AS_SET, AUTO_ORDER, ENGINES, Generation, LanguageModel, Message, ReplyDelta, Tool
from pipeline.llm.offered import OffersModels
from pipeline.settings import Settings
from pipeline.support.on_demand import OnDemand
from pipeline.support.progress import Progress, Report

log = logging.getLogger(__name__)

BETTER, ALWAYS = AUTO_ORDER
RECHECK_S = 5.0
"""Least seconds between two checks that were not quick."""
SLOW_S = 1.0
"""A failed check that took longer was ignored and not refused; turns then do not wait for the next checks."""
QUICK_S = 0.1
"""A check that takes less than this (for example a closed port on this machine) can be repeated at every turn."""
PATIENCE_S = 10.0
"""How long turns wait for a running check: long enough to load a model, but not to download one. It then continues in
the background."""


def _log_progress(step: Progress) -> None:
    """Log progress after the start, when there is no progress bar."""
    log.debug("%s: %d of %d", step.task, step.done, step.total)


class AutoLanguageModel:
    """See `pipeline.llm.LanguageModel`."""

    def __init__(self, settings: Settings, always: Running[LanguageModel]) -> None:
        self._settings = settings
        self._always = always
        self._report: Report = _log_progress
        self._opening: OnDemand[Running[LanguageModel]] = OnDemand(
            lambda: open_named("llm", ENGINES, BETTER, settings, self._report)
        )
        self._why_not = ""
        self._look_again_at = 0.0
        self._look: asyncio.Task[None] | None = None
        self._look_began = 0.0
        self._slow = False
        """Whether the last failed check was slow."""
        self._leaving = asyncio.Lock()
        self._replying = 0

    @property
    def _better(self) -> Running[LanguageModel] | None:
        """The better engine while it is open."""
        return self._opening.value

    @property
    def info(self) -> EngineInfo:
        """The engine in use."""
        if self._better is not None:
            return self._better.info
        own = self._always.info
        return replace(own, notes=(self._why_not, *own.notes) if self._why_not else own.notes)

    async def look(self, report: Report = _log_progress, *, patience_s: float = PATIENCE_S) -> None:
        """Switch to the better engine if it is available. Repeat a check that was not quick only after RECHECK_S.

        Concurrent turns share one check, and do not wait longer than `patience_s` after its start.
        """
        now = time.monotonic()
        if self._better is not None:
            return
        if self._look is None or self._look.done():
            if now < self._look_again_at:
                return
            self._report = report
            self._look, self._look_began = asyncio.create_task(self._try_to_open()), now
        looking = self._look
        # An address that ignores connections makes each check take seconds: turns must not wait for that.
        patience_s = min(patience_s, QUICK_S) if self._slow else patience_s
        await asyncio.wait([looking], timeout=max(0.0, self._look_began + patience_s - now))
        if looking.done():
            looking.result()

    async def _try_to_open(self) -> None:
        start = time.monotonic()
        try:
            better = await self._opening.get()
        except ParleyError as error:
            self._why_not = note(BETTER, error)
            now = time.monotonic()
            self._slow = now - start >= SLOW_S
            self._look_again_at = now if now - start < QUICK_S else now + RECHECK_S
        else:
            self._why_not = ""
            log.info("%s is in use from now on (%s)", BETTER, better.info.model)

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        await self.look()
        if self._better is not None:
            started = False
            try:
                async with aclosing(self._replies(self._better, messages, tools, must_call, generation)) as deltas:
                    async for delta in deltas:
                        started = True
                        yield delta
                return
            except EngineError as error:
                # Lost before the first delta: the built-in responder takes over this turn. Later it is an error.
                if started or not await self._gone():
                    raise
                log.warning("%s cannot be reached: %s", BETTER, error.message)
        replying = self._always.engine.reply(messages, tools=tools, must_call=must_call, generation=generation)
        async with aclosing(replying) as deltas:
            async for delta in deltas:
                yield delta

    async def models(self) -> Sequence[str]:
        """Return the models of the better engine; see `pipeline.llm.offered`. Raises EngineUnavailable while it is
        away."""
        await self.look()
        better = self._better
        if better is None:
            raise EngineUnavailable("There is no language model at present.", remedy=self._why_not)
        return await better.engine.models() if isinstance(better.engine, OffersModels) else ()

    async def model_reply(self, messages: Sequence[Message]) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the reply of a language model, never that of the built-in responder. Raises EngineError without
        one."""
        await self.look()
        model = self._better or self._always
        if model.info.engine == ALWAYS:
            raise EngineError(f"There is no language model at present. {self._why_not}".strip())
        async with aclosing(self._replies(model, messages, (), must_call=False, generation=AS_SET)) as deltas:
            async for delta in deltas:
                yield delta

    async def _replies(
        self,
        better: Running[LanguageModel],
        messages: Sequence[Message],
        tools: Sequence[Tool],
        must_call: bool,
        generation: Generation,
    ) -> AsyncGenerator[ReplyDelta, None]:
        self._replying += 1
        try:
            replying = better.engine.reply(messages, tools=tools, must_call=must_call, generation=generation)
            async with aclosing(replying) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._replying -= 1

    async def _gone(self) -> bool:
        """Check whether the better engine has become unreachable, or its model was removed. If so, close it, unless it
        is still replying to other sessions: an engine that only responds slowly to the check must not lose its replies.
        """
        async with self._leaving:
            if self._better is None:
                return True
            in_use = self._settings.model_copy(update={"llama_model": self._better.info.model})
            try:
                await load(ENGINES, BETTER).probe(in_use)
            except ParleyError as error:
                if not self._replying:
                    self._why_not = note(BETTER, error)
                    await self._opening.close()
                return True
            return False

    async def close(self) -> None:
        """Cancel a running check, and close the better engine."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])
        await self._opening.close()


@asynccontextmanager
async def open_auto(settings: Settings, report: Report) -> AsyncIterator[AutoLanguageModel]:
    """Open a model that keeps checking for the better engine. Wait for the first check, however long it takes."""
    order = ("local", ALWAYS) if settings.local_llm else (ALWAYS,)
    async with open_best("llm", ENGINES, order, settings, report) as always:
        model = AutoLanguageModel(settings, always)
        try:
            await model.look(report, patience_s=math.inf)
            yield model
        finally:
            await model.close()
