"""Probing of language model servers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PROBE_S = 5.0
"""Timeout for a server to list its models."""


async def patiently(look: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `look()`, with a timeout of PROBE_S. Raises TimeoutError.

    Makes two attempts: the service's start imports many modules on the same event loop, which can cause a timeout.
    """
    try:
        async with asyncio.timeout(PROBE_S):
            return await look()
    except TimeoutError:
        async with asyncio.timeout(PROBE_S):
            return await look()
