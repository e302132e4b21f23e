"""Models that are loaded on demand (`OnDemand`), as many at a time as a memory budget allows.

A caller holds the model that it uses. A model without a holder stays until its memory is needed for another; then the
least recently used ones are unloaded first.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import EngineUnavailable, Overloaded
from pipeline.support.on_demand import Failures, OnDemand

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_S = 5.0
"""Retry-After when all models are in use: files take seconds, or hours."""


class DoesNotFit(EngineUnavailable):
    """A model needs more memory than models are allowed to use here."""

    code = "model_too_large"


@dataclass(slots=True)
class _Resident(Generic[T]):
    model: OnDemand[T]
    mb: int
    users: int = 0


class Residents(Generic[T]):
    """The models that are loaded in addition to the permanent one."""

    def __init__(self, budget_mb: int, kept_mb: int = 0, retry_s: float = 0.0) -> None:
        """budget_mb: memory for all models. kept_mb: memory of the model that is never unloaded. retry_s: seconds for
        which a failed load is remembered."""
        self.failures = Failures(retry_s)
        """Errors by model. A caller can add one, so that a model that does not work is not used for a while."""
        self._budget_mb = budget_mb
        self._kept_mb = kept_mb
        self._residents: OrderedDict[str, _Resident[T]] = OrderedDict()
        """Models by name; the least recently used one first."""
        self._leaving: dict[asyncio.Task[None], int] = {}
        """Models that are being unloaded, and the memory that they still use."""
        self._making_room = asyncio.Lock()

    @property
    def loaded(self) -> list[str]:
        """Names of the models that are loaded or being loaded."""
        return list(self._residents)

    @property
    def used_mb(self) -> int:
        """Memory that all models use now, by their estimates."""
        return self._kept_mb + sum(one.mb for one in self._residents.values()) + sum(self._leaving.values())

    @asynccontextmanager
    async def using(
        self, name: str, mb: int, context: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AsyncIterator[T]:
        """Hold a model. `context` loads it if necessary; callers that request it meanwhile wait for the same load.

        mb: what it will take. Raises DoesNotFit, Overloaded when too much is in use now, or what loading raised, also
        recently.
        """
        resident = await self._get(name, mb, context)
        resident.users += 1
        try:
            yield await resident.model.get()
        finally:
            resident.users -= 1
            if self._residents.get(name) is resident:
                if resident.model.failed:
                    del self._residents[name]
                else:
                    self._residents.move_to_end(name)

    async def close(self) -> None:
        """Unload all models. Call it when none is held."""
        for name in list(self._residents):
            self._unload(name)
        await self._left()

    async def _get(self, name: str, mb: int, context: Callable[[], AbstractAsyncContextManager[T]]) -> _Resident[T]:
        if self._kept_mb + mb > self._budget_mb:
            raise DoesNotFit(
                f"The model {name} needs about {mb} MB; {max(0, self._budget_mb - self._kept_mb)} MB are available.",
                remedy="Request a smaller one, or raise MODEL_MEMORY_MB.",
            )
        while (resident := self._residents.get(name)) is None or resident.model.failed:
            async with self._making_room:
                self.failures.check(name)
                known = self._residents.get(name)
                if known is None or known.model.failed:  # a failure is raised only for those who waited
                    self._residents.pop(name, None)
                    await self._make_room(mb)
                    self._residents[name] = _Resident(OnDemand(context, self.failures, name), mb)
        return resident

    async def _make_room(self, mb: int) -> None:
        idle = [name for name, one in self._residents.items() if not one.users]
        free_mb = self._budget_mb - self.used_mb + sum(self._leaving.values())
        if free_mb + sum(self._residents[name].mb for name in idle) < mb:
            raise Overloaded(
                "Other models are in use, and there is not enough memory for this one.", retry_after_s=RETRY_S
            )
        for name in idle:
            if free_mb >= mb:
                break
            free_mb += self._residents[name].mb
            log.info("unloaded %s: another model needs its memory", name)
            self._unload(name)
        await self._left()

    def _unload(self, name: str) -> None:
        resident = self._residents.pop(name)
        leaving = asyncio.create_task(resident.model.close())
        self._leaving[leaving] = resident.mb
        leaving.add_done_callback(self._leaving.pop)

    async def _left(self) -> None:
        """Wait until all models that are being unloaded are gone. Cancelling the wait does not stop the unloading."""
        while self._leaving:
            await asyncio.wait(list(self._leaving))
