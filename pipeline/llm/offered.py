"""The language models that a conversation can choose: those that the model server lists and the operator allows."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from pipeline.errors import BadInput, EngineUnavailable, ParleyError

log = logging.getLogger(__name__)

FRESH_S = 10.0
"""Time for which a list is used again, in seconds."""
DEADLINE_S = 5.0
"""Timeout for a server to list its models, in seconds."""
MAX_MODELS = 200
"""Limit of models that are offered; a server that lists more is used with its first ones."""
MAX_NAME_CHARS = 200
EVERY = "all"
"""LLM_MODELS for all models of the server."""


@runtime_checkable
class OffersModels(Protocol):
    """A language model engine whose server has several models; `Generation.llm_model` chooses one."""

    async def models(self) -> Sequence[str]:
        """Return the names of the server's models. Raises ParleyError if it does not respond."""
        ...


class OfferedModels:
    """The choice of models, with a short memory: each new conversation can ask for it."""

    def __init__(self, engine: object, *, usual: Callable[[], str] = str, allowed: str = "") -> None:
        """engine: the language model of the deployment. usual: returns the model of conversations that choose none,
        or "". allowed: LLM_MODELS."""
        self._engine = engine
        self._usual = usual
        self._allowed = [_plain(name.strip()) for name in allowed.split(",") if name.strip()]
        self._names: Sequence[str] = ()
        self._looked = -math.inf
        self._look: asyncio.Task[None] | None = None

    @property
    def usual(self) -> str:
        """Name of the model of conversations that choose none; empty: unknown."""
        return _plain(self._usual())

    async def names(self) -> Sequence[str]:
        """Return the names that can be chosen, in the server's order; empty without a server that has a choice. The
        last list is used while the server does not respond."""
        if (look := self._looking()) is not None:
            await asyncio.shield(look)
        return self._names

    def _looking(self) -> asyncio.Task[None] | None:
        """Return the request for a newer list, one for all that want it; None while the list is new enough."""
        if self._look is not None and not self._look.done():
            return self._look
        if not isinstance(self._engine, OffersModels) or time.monotonic() - self._looked < FRESH_S:
            return None
        self._look = asyncio.create_task(self._update(self._engine))
        return self._look

    async def _update(self, engine: OffersModels) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await engine.models()
        except EngineUnavailable as error:
            log.debug("there are no language models to list: %s", error)
        except (ParleyError, TimeoutError) as error:
            log.warning("the language models cannot be listed: %s", error)
        else:
            listed = dict.fromkeys(_plain(name) for name in found if 0 < len(name) <= MAX_NAME_CHARS)
            self._names = [name for name in listed if self._may(name)][:MAX_MODELS]
        self._looked = time.monotonic()

    def _may(self, name: str) -> bool:
        return not self._allowed or EVERY in self._allowed or name in self._allowed or name == self.usual

    async def find(self, name: str) -> str:
        """Return the name of a model as the server knows it: at once if it is in the last list. Raises BadInput
        (unknown_model)."""
        self._looking()  # for the next ones
        if (found := _plain(name.strip())) in self._names or found in await self.names():
            return found
        names = self._names
        there = ", ".join(names[:20]) or "none"
        raise BadInput(
            f"There is no language model {name[:60]!r} to choose; there are: {there}.",
            code="unknown_model",
            param="llm_model",
        )

    async def find_if_any(self, name: str) -> str | None:
        """Return the name of a model as the server knows it; None if there is no server that has a choice. Raises
        BadInput (unknown_model)."""
        return await self.find(name) if self._names or await self.names() else None


def _plain(name: str) -> str:
    """Return a model's name without the tag that Ollama implies."""
    return name.removesuffix(":latest")
