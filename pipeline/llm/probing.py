"""Whether a server of language models is there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PROBE_S = 5.0
"""A server that takes longer to list its models is as good as away."""


async def patiently(look: Callable[[], Awaitable[T]]) -> T:
    """What `look()` gives within PROBE_S. Raises TimeoutError.

    It is tried twice: a start imports much on the same event loop, and what was too slow may have been that.
    """
    try:
        async with asyncio.timeout(PROBE_S):
            return await look()
    except TimeoutError:
        async with asyncio.timeout(PROBE_S):
            return await look()
