"""`LLM_ENGINE=auto`: Ollama whenever it is there, the built-in responder whenever it is not, without a restart."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from pipeline.engines import EngineInfo, Progress, Report, Running, load, note, open_named
from pipeline.errors import EngineError, ParleyError
from pipeline.keeping import Keeper
from pipeline.llm import AUTO_ORDER, ENGINES, LanguageModel, Message, ReplyDelta, Tool
from pipeline.settings import Settings

log = logging.getLogger(__name__)

BETTER, ALWAYS = AUTO_ORDER
SLOW_S = 1.0
"""A look that failed only after this was not refused but ignored; the next ones are nothing to wait for."""
QUICK_S = 0.1
"""A look that is answered within this (a closed port on this machine, say) may be repeated at every turn."""
PATIENCE_S = 10.0
"""So long turns wait for a look that has begun: long enough to load a model, not to download one. It goes on behind
them."""


def _log_progress(step: Progress) -> None:
    """The report of what happens after the start, when no progress bar is there any more."""
    log.debug("%s: %d of %d", step.task, step.done, step.total)


class AutoLanguageModel:
    """See `pipeline.llm.LanguageModel`."""

    def __init__(self, settings: Settings, always: Running[LanguageModel]) -> None:
        self._settings = settings
        self._always = always
        self._better: Running[LanguageModel] | None = None
        self._keeper: Keeper[Running[LanguageModel]] | None = None
        self._why_not = ""
        self._look_again_at = 0.0
        self._look: asyncio.Task[None] | None = None
        self._look_began = 0.0
        self._slow = False
        """Whether the last look that failed took long to do so."""
        self._leaving = asyncio.Lock()
        self._replying = 0

    @property
    def info(self) -> EngineInfo:
        """What answers now."""
        if self._better is not None:
            return self._better.info
        info = self._always.info
        return EngineInfo(
            info.stage, info.engine, info.model, info.device, info.ready_s, (self._why_not,) if self._why_not else ()
        )

    async def look(self, report: Report = _log_progress, *, patience_s: float = PATIENCE_S) -> None:
        """Take the better engine if it is there now. Rarely more often than LLM_RECHECK_S when looking is slow.

        One look serves all turns that want one meanwhile; nobody waits for it beyond `patience_s` after its begin.
        """
        now = time.monotonic()
        if self._better is not None:
            return
        if self._look is None or self._look.done():
            if now < self._look_again_at:
                return
            self._look, self._look_began = asyncio.create_task(self._try_to_open(report)), now
        looking = self._look
        # An address that does not even refuse costs each look seconds: those are not the turn's to wait for.
        patience_s = min(patience_s, QUICK_S) if self._slow else patience_s
        await asyncio.wait([looking], timeout=max(0.0, self._look_began + patience_s - now))
        if looking.done():
            looking.result()

    async def _try_to_open(self, report: Report) -> None:
        start = time.monotonic()
        keeper: Keeper[Running[LanguageModel]] = Keeper(open_named("llm", ENGINES, BETTER, self._settings, report))
        try:
            self._better = await keeper.open()
        except ParleyError as error:
            await keeper.close()
            self._why_not = note(BETTER, error)
            now = time.monotonic()
            self._slow = now - start >= SLOW_S
            self._look_again_at = now if now - start < QUICK_S else now + self._settings.llm_recheck_s
        except BaseException:
            await keeper.close()
            raise
        else:
            self._keeper, self._why_not = keeper, ""
            log.info("%s answers from now on (%s)", BETTER, self._better.info.model)

    async def reply(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] = (), must_call: bool = False
    ) -> AsyncGenerator[ReplyDelta, None]:
        await self.look()
        if self._better is not None:
            started = False
            try:
                async with aclosing(self._replies(self._better, messages, tools, must_call)) as deltas:
                    async for delta in deltas:
                        started = True
                        yield delta
                return
            except EngineError as error:
                # Gone before it said a word: the built-in one answers this turn. In mid-reply it is an error.
                if started or not await self._gone():
                    raise
                log.warning("%s is gone: %s", BETTER, error.message)
        async with aclosing(self._always.engine.reply(messages, tools=tools, must_call=must_call)) as deltas:
            async for delta in deltas:
                yield delta

    async def _replies(
        self, better: Running[LanguageModel], messages: Sequence[Message], tools: Sequence[Tool], must_call: bool
    ) -> AsyncGenerator[ReplyDelta, None]:
        self._replying += 1
        try:
            async with aclosing(better.engine.reply(messages, tools=tools, must_call=must_call)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._replying -= 1

    async def _gone(self) -> bool:
        """Whether the better engine cannot be reached any more; then it is let go, unless it is still replying to
        others: who is only slow to answer a look must not lose them.
        """
        async with self._leaving:
            if self._better is None:
                return True
            try:
                await load(ENGINES, BETTER).probe(self._settings)
            except ParleyError as error:
                if not self._replying:
                    self._why_not = note(BETTER, error)
                    await self._let_go()
                return True
            return False

    async def _let_go(self) -> None:
        keeper, self._keeper, self._better = self._keeper, None, None
        if keeper is not None:
            await keeper.close()

    async def close(self) -> None:
        """End a look, and let the better engine go if it is open."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])
        await self._let_go()


@asynccontextmanager
async def open_auto(settings: Settings, report: Report) -> AsyncIterator[AutoLanguageModel]:
    """The model that looks for its better again and again; a first look is done, however long it takes."""
    async with open_named("llm", ENGINES, ALWAYS, settings, report) as always:
        model = AutoLanguageModel(settings, always)
        try:
            await model.look(report, patience_s=math.inf)
            yield model
        finally:
            await model.close()
