"""One model on several servers: each reply comes from the server with the fewest, and a dead server is left out until
it responds again."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable, ParleyError
from pipeline.llm import AS_SET, Generation, LanguageModel, Message, ReplyDelta, Tool
from pipeline.llm.offered import OffersModels
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.support.on_demand import OnDemand
from pipeline.support.progress import Report

log = logging.getLogger(__name__)

RECHECK_S = 5.0
"""Interval between two checks of a dead server, in seconds."""

Open = Callable[[Settings, Report], AbstractAsyncContextManager[Opened[LanguageModel]]]
Probe = Callable[[Settings], Awaitable[None]]


def each_server(settings: Settings, setting: str) -> list[Settings]:
    """Return the settings once for each of the addresses in this setting, with that address alone."""
    return [settings.model_copy(update={setting: address}) for address in getattr(settings, setting).split(",")]


async def probe_servers(servers: Sequence[Settings], probe: Probe) -> None:
    """Return if one of the servers responds. Raises the error of the first one."""
    errors = await asyncio.gather(*(_error(probe, server) for server in servers))
    if all(errors) and errors[0] is not None:
        raise errors[0]


async def _error(probe: Probe, server: Settings) -> ParleyError | None:
    try:
        await probe(server)
    except ParleyError as error:
        return error
    return None


@asynccontextmanager
async def open_servers(
    servers: Sequence[Settings], open_one: Open, probe: Probe, report: Report
) -> AsyncIterator[Opened[LanguageModel]]:
    """Open the model on each server that responds. Raises the error of the first one if none does."""
    if len(servers) == 1:
        async with open_one(servers[0], report) as opened:
            yield opened
        return
    async with AsyncExitStack() as stack:
        each = [_Server(one, open_one, report) for one in servers]
        for server in each:
            stack.push_async_callback(server.opening.close)
        await asyncio.gather(*(server.start() for server in each))
        here = [server.opening.value for server in each if server.opening.value is not None]
        if not here:
            raise each[0].error or EngineUnavailable("No language model server responds.", remedy="Start one.")
        for server in each:
            await stack.enter_async_context(background(server.watch(probe)))
        yield replace(
            here[0],
            engine=BalancedModel(each, probe),
            device=", ".join(one.device for one in here),
            notes=[*here[0].notes, *(f"Left out until it responds: {one.error.message}" for one in each if one.error)],
        )


class _Server:
    """One server, and whether it is left out."""

    def __init__(self, settings: Settings, open_one: Open, report: Report) -> None:
        self.opening: OnDemand[Opened[LanguageModel]] = OnDemand(lambda: open_one(settings, report))
        self.replying = 0
        self.error: ParleyError | None = None
        """Reason for which it is left out."""
        self._settings = settings
        self._left_out = asyncio.Event()

    async def start(self) -> None:
        """Open the model, or leave the server out."""
        try:
            await self.opening.get()
        except ParleyError as error:
            self._leave_out(error)

    async def gone(self, probe: Probe) -> bool:
        """Check whether the server still responds; if not, leave it out."""
        if (error := await _error(probe, self._settings)) is not None:
            self._leave_out(error)
        return error is not None

    def _leave_out(self, error: ParleyError) -> None:
        if self.error is None:
            log.warning("a language model server is left out: %s", error.message)
        self.error = error
        self._left_out.set()

    async def watch(self, probe: Probe) -> None:
        """Take the server back whenever it responds again."""
        while True:
            await self._left_out.wait()
            await asyncio.sleep(RECHECK_S)
            try:
                await probe(self._settings)
                device = (await self.opening.get()).device
            except ParleyError as error:
                self.error = error
            else:
                self.error = None
                self._left_out.clear()
                log.info("the language model server %s is in use again", device)


class BalancedModel:
    """See `pipeline.llm.LanguageModel`."""

    def __init__(self, servers: Sequence[_Server], probe: Probe) -> None:
        self._servers = servers
        self._probe = probe

    async def models(self) -> Sequence[str]:
        """Return the models that every server in use has, because any of them can get a reply; see
        `pipeline.llm.offered`."""
        engines = [opened.engine for one in self._servers if one.error is None and (opened := one.opening.value)]
        lists = await asyncio.gather(*(engine.models() for engine in engines if isinstance(engine, OffersModels)))
        first, *others = lists or [()]
        return [name for name in first if all(name in other for other in others)]

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        """See the Protocol. A server that dies before its first delta is replaced by another one in the same turn."""
        failure = EngineError("No language model server responds.")
        left = list(self._servers)
        while usable := [server for server in left if server.error is None and server.opening.value is not None]:
            server = min(usable, key=lambda one: one.replying)
            left.remove(server)
            opened = server.opening.value
            assert opened is not None  # noqa: S101  # it is usable
            started = False
            server.replying += 1
            try:
                replying = opened.engine.reply(messages, tools=tools, must_call=must_call, generation=generation)
                async with aclosing(replying) as deltas:
                    async for delta in deltas:
                        started = True
                        yield delta
                return
            except EngineError as error:
                if started or not await server.gone(self._probe):
                    raise
                failure = error
            finally:
                server.replying -= 1
        raise failure
