"""A front's side of a model that the main process owns."""

import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pipeline.errors import Overloaded
from pipeline.support.channel import Channel
from pipeline.telemetry import metrics, tracing
from pipeline.workers import EngineSpec, Load, Serving, Worker
from pipeline.workers.caller import Caller, Urgency, current
from pipeline.workers.model_call import ITEMS_AHEAD
from pipeline.workers.results import ResultsWorker
from pipeline.workers.sharing.link import Link
from pipeline.workers.sharing.messages import (
    CallEnded,
    CallItem,
    CallModel,
    CancelCall,
    CloseModel,
    Hasten,
    ModelLoad,
    Opened,
    OpenModel,
    Received,
)
from pipeline.workers.wire import Done, Failed, Item

_numbers = itertools.count(1)
_calls: dict[int, Channel[CallItem | CallEnded]] = {}
"""Running calls of this process by number."""
_workers: dict[int, list["SharedWorker"]] = {}
# Module state, because a process has one main process.


def receive(link: Link) -> None:
    """Handle the main process's messages about models."""
    link.on(CallItem, _deliver)
    link.on(CallEnded, _deliver)
    link.on(ModelLoad, _note_load)


def _deliver(message: CallItem | CallEnded) -> None:
    if (channel := _calls.get(message.number)) is not None:
        channel.offer(message)


def _note_load(message: ModelLoad) -> None:
    for worker in _workers.get(message.model, ()):
        worker.known_load = message.load


@asynccontextmanager
async def open_shared(link: Link, spec: EngineSpec, serving: Serving) -> AsyncIterator[Worker]:
    """Use a model of the main process while the block runs; it is loaded with the first user. Raises the errors of the
    engine's constructor."""
    opened: Opened = await link.ask(OpenModel(spec, serving))
    worker = SharedWorker(link, spec.name, opened)
    _workers.setdefault(opened.model, []).append(worker)
    try:
        yield worker
    finally:
        _workers[opened.model].remove(worker)
        link.post(CloseModel(opened.model))


class SharedWorker(ResultsWorker):
    """See `pipeline.workers.Worker`."""

    def __init__(self, link: Link, name: str, opened: Opened) -> None:
        self._link = link
        self._name = name
        self._model = opened.model
        self.known_load = opened.load
        self._waits = {urgency: metrics.queue_wait_seconds.labels(name, urgency.name.lower()) for urgency in Urgency}
        self._refusals = metrics.queue_refusals.labels(name)
        self._busy_seconds = metrics.model_busy_seconds.labels(name)

    def load(self) -> Load:
        """See Worker. Calls and waits are those of all fronts."""
        return self.known_load

    async def _results(self, method: str, args: tuple[object, ...]) -> AsyncGenerator[Item | Done, None]:
        caller, around, number = current(), tracing.around(), next(_numbers)
        channel = _calls[number] = Channel[CallItem | CallEnded](ITEMS_AHEAD + 1)
        ended = False
        try:
            with caller.watched(lambda: self._link.post(Hasten(number, caller.urgency))):
                await self._link.send(CallModel(number, self._model, method, args, caller))
                async for message in channel:
                    if isinstance(message, CallItem):
                        self._link.post(Received(number))
                        yield Item(number, message.value)
                        continue
                    ended = True
                    self._note(message, caller, method, around)
                    if isinstance(message.result, Failed):
                        raise message.result.error
                    yield message.result
                    return
        finally:
            del _calls[number]
            if not ended:
                self._link.post(CancelCall(number))

    def _note(self, end: CallEnded, caller: Caller, method: str, around: Any) -> None:
        """Count a call that has ended, and add the engine's work to the caller's trace."""
        if isinstance(end.result, Failed) and isinstance(end.result.error, Overloaded):
            self._refusals.inc()
        if end.waited_s is not None:
            self._waits[caller.urgency].observe(end.waited_s)
        if (ran := end.result.ran) is not None:
            self._busy_seconds.inc((ran.ended_ns - ran.began_ns) / 1e9 / ran.together)
            about = {"process.pid": ran.pid, "parley.batch": ran.together}
            tracing.happened(f"{self._name}.{method}", around, ran.began_ns, ran.ended_ns, about)
