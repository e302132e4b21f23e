"""Calls and streams from one stream of results."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pipeline.workers.wire import Done, Item


class ResultsWorker(ABC):
    """`call` and `stream` of a `pipeline.workers.Worker`. A subclass runs the method."""

    @abstractmethod
    def _results(self, method: str, args: tuple[object, ...]) -> AsyncGenerator[Item | Done, None]:
        """Run a method and yield its items, or at last what it returned; closing stops it."""

    async def call(self, method: str, *args: object) -> Any:
        """See Worker."""
        async with aclosing(self._results(method, args)) as results:
            async for result in results:
                if isinstance(result, Done):
                    return result.value
        return None

    async def stream(self, method: str, *args: object) -> AsyncGenerator[Any, None]:
        """See Worker."""
        async with aclosing(self._results(method, args)) as results:
            async for result in results:
                if isinstance(result, Item):
                    yield result.value
