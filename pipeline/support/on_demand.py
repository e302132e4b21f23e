"""Values that are expensive to open: opened when first wanted, shared and kept. Failures to open them are remembered.

`OnDemand` holds one value. `pipeline.workers.residents` holds many, within a memory budget.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Generic, TypeVar

from pipeline.errors import Overloaded
from pipeline.support.context_holder import ContextHolder

T = TypeVar("T")


class Failures:
    """Errors by name. Each is remembered for a while, so that a slow attempt that failed is not repeated at once."""

    def __init__(self, retry_s: float = 0.0) -> None:
        """retry_s: seconds for which an error is remembered; 0: the next caller tries again."""
        self._retry_s = retry_s
        self._errors: dict[str, tuple[float, Exception]] = {}

    def add(self, name: str, error: Exception) -> None:
        """Remember an error, except Overloaded: capacity may be free again soon."""
        if isinstance(error, Overloaded):
            return
        now = asyncio.get_running_loop().time()
        self._errors = {one: (at, known) for one, (at, known) in self._errors.items() if now - at < self._retry_s}
        self._errors[name] = (now, error)

    def recent(self, name: str) -> Exception | None:
        """Return the remembered error of this name."""
        at, error = self._errors.get(name, (0.0, None))
        return error if asyncio.get_running_loop().time() - at < self._retry_s else None

    def check(self, name: str) -> None:
        """Raise the remembered error of this name, if there is one."""
        if (error := self.recent(name)) is not None:
            raise error.with_traceback(None)


class OnDemand(Generic[T]):
    """A context that the first `get` enters, and that stays entered until `close`. Then the next `get` enters it again.

    Callers that want the value while it is being opened wait for the same attempt and get its error. A cancelled caller
    does not cancel the attempt. After an error, `get` raises it for as long as `failures` remembers it.
    """

    def __init__(
        self, context: Callable[[], AbstractAsyncContextManager[T]], failures: Failures | None = None, name: str = ""
    ) -> None:
        """context: creates the context for each attempt. failures: None: the next `get` after an error tries again.
        name: the value's name in `failures`, which several values can share."""
        self._context = context
        self._failures = failures or Failures()
        self._name = name
        self._holder: ContextHolder[T] | None = None

    @property
    def value(self) -> T | None:
        """The value while it is open."""
        return None if self._holder is None else self._holder.value

    @property
    def failed(self) -> bool:
        """Whether the last attempt to open the value failed."""
        return self._holder is not None and self._holder.failed

    async def get(self) -> T:
        """Return the value, opened if necessary. Raises the error of opening it, also a remembered one."""
        self._failures.check(self._name)
        if self._holder is None or self._holder.failed:
            self._holder = ContextHolder(self._opening())
        return await self._holder.open()

    async def close(self) -> None:
        """Close the value and wait until it is closed; cancels an attempt to open it."""
        holder, self._holder = self._holder, None
        if holder is not None:
            await holder.close()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[T]:
        async with AsyncExitStack() as stack:
            try:
                value = await stack.enter_async_context(self._context())
            except Exception as error:
                self._failures.add(self._name, error)
                raise
            yield value
