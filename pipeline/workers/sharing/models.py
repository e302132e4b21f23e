"""The main process's side of shared models: each is loaded once, with one scheduler for the calls of all fronts."""

import asyncio
import contextlib
import itertools
from collections import Counter
from dataclasses import dataclass

from pipeline.errors import EngineError
from pipeline.support.on_demand import OnDemand
from pipeline.workers import EngineSpec, Hosting, Load, Serving, open_here
from pipeline.workers.caller import Caller
from pipeline.workers.model_call import ITEMS_AHEAD, ModelCall
from pipeline.workers.pool import Pool
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
from pipeline.workers.wire import Done, Failed, dump, unpack

TELL_S, LOOK_S = 0.05, 1.0
"""Shortest and longest time between two looks at how busy the models are, in seconds."""


class _Model:
    """A model and the fronts that use it."""

    def __init__(self, spec: EngineSpec, serving: Serving, hosting: Hosting) -> None:
        self.spec = spec
        self.pool: OnDemand[Pool] = OnDemand(lambda: open_here(spec, serving, hosting))
        self.users: Counter[Link] = Counter()
        self.told: Load | None = None
        """The load that the fronts know."""


class SharedModels:
    """The models of all fronts. A front that is gone keeps its models until `forget`, so that its successor finds them
    loaded."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting
        self._models: dict[int, _Model] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def join(self, link: Link) -> "FrontCalls":
        """Serve the front at the other end of this link."""
        link.answer(OpenModel, lambda request: self._open(link, request))
        link.on(CloseModel, lambda message: self._close(link, message.model))
        return FrontCalls(link, self)

    async def forget(self, link: Link) -> None:
        """Release the models of a front that is gone."""
        for number, model in list(self._models.items()):
            del model.users[link]
            await self._unload_unused(number)

    async def close(self) -> None:
        """Unload all models."""
        models, self._models = list(self._models.values()), {}
        await asyncio.gather(*(model.pool.close() for model in models))

    async def watch(self) -> None:
        """Tell the fronts how busy their models are, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            self._changed.clear()
            for number, model in self._models.items():
                if (pool := model.pool.value) is not None and (load := pool.load()) != model.told:
                    model.told = load
                    for link in model.users:
                        link.post(ModelLoad(number, load))
            await asyncio.sleep(TELL_S)

    def changed(self) -> None:
        """Signal that a call has begun or ended."""
        self._changed.set()

    def pool(self, number: int) -> Pool:
        """Return a loaded model. Raises EngineError."""
        model = self._models.get(number)
        if model is None or model.pool.value is None:
            raise EngineError("The model is closed.")
        return model.pool.value

    async def _open(self, link: Link, request: OpenModel) -> Opened:
        number = next((number for number, model in self._models.items() if model.spec.same_model(request.spec)), 0)
        if not number:
            number = next(self._numbers)
            self._models[number] = _Model(request.spec, request.serving, self._hosting)
        model = self._models[number]
        model.users[link] += 1
        try:
            pool = await model.pool.get()
        except BaseException:
            model.users[link] -= 1
            await self._unload_unused(number)
            raise
        return Opened(number, pool.load())

    def _close(self, link: Link, number: int) -> None:
        if (model := self._models.get(number)) is not None:
            model.users[link] -= 1
            closing = asyncio.create_task(self._unload_unused(number))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _unload_unused(self, number: int) -> None:
        model = self._models.get(number)
        if model is not None and not model.users.total():
            del self._models[number]
            await model.pool.close()


@dataclass(slots=True)
class _Running:
    """A call of a front."""

    task: asyncio.Task[None]
    room: asyncio.Semaphore
    """Items that may be sent before the caller has received one."""
    caller: Caller
    telling: bool = False
    """Whether it waits until the front has received an item."""
    stalled: bool = False
    """Whether it was ended because of that."""


class FrontCalls:
    """The running calls of one front."""

    def __init__(self, link: Link, models: SharedModels) -> None:
        self._link, self._models = link, models
        self._running: dict[int, _Running] = {}
        link.on(CallModel, self._begin)
        link.on(Hasten, self._hasten)
        link.on(Received, self._received)
        link.on(CancelCall, self._cancel)

    async def close(self) -> None:
        """Cancel all calls: the front is gone."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def stall(self) -> None:
        """End the calls that wait for the front, because it does not respond: each holds a replica of its model."""
        for running in self._running.values():
            if running.telling and not running.stalled:
                running.stalled = True
                running.task.cancel()

    def _begin(self, message: CallModel) -> None:
        task = asyncio.create_task(self._run(message))
        self._running[message.number] = _Running(task, asyncio.Semaphore(ITEMS_AHEAD), message.caller)
        task.add_done_callback(lambda _: self._running.pop(message.number, None))

    def _hasten(self, message: Hasten) -> None:
        if (running := self._running.get(message.number)) is not None:
            running.caller.urgency = message.urgency

    def _received(self, message: Received) -> None:
        if (running := self._running.get(message.number)) is not None:
            running.room.release()

    def _cancel(self, message: CancelCall) -> None:
        if (running := self._running.get(message.number)) is not None:
            running.task.cancel()

    async def _run(self, message: CallModel) -> None:
        running = self._running[message.number]
        call: ModelCall | None = None
        result: Done | Failed | None = None
        try:
            with self._models.pool(message.model).submit(message.method, message.args, message.caller) as call:
                self._models.changed()
                async for item in call.results:
                    if isinstance(item, Done):
                        result = item
                        break
                    running.telling = True
                    await running.room.acquire()
                    await self._link.send(CallItem(message.number, item.value))
                    running.telling = False
                result = result or Done(message.number, ran=call.ran)
        except asyncio.CancelledError:
            if not running.stalled:
                raise
            error = EngineError("The process of this connection did not respond for a moment.")
            result = Failed(message.number, error, call.ran if call is not None else None)
        except Exception as error:  # the engine's own, or refused, or crashed
            result = unpack(dump(Failed(message.number, error, call.ran if call is not None else None)))
        finally:
            self._models.changed()
        self._link.post(CallEnded(message.number, result, call.waited_s if call is not None else None))
