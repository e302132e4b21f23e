"""Return freed memory to the system."""

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pipeline.support.background import background

M_MMAP_THRESHOLD = -3
"""Constant of glibc's malloc.h."""
LARGE_BYTES = 1 << 17
"""glibc's own threshold at the start of a process."""


def return_large_blocks() -> None:
    """Return large blocks to the system as soon as they are freed.

    glibc maps blocks above a threshold one by one, but raises that threshold (up to 32 MB) whenever such a block is
    freed. Messages and sound of a few megabytes then lie on the heap between small long-lived blocks, which keep their
    memory from being returned. Setting the threshold explicitly keeps it fixed. Other C libraries neither have nor need
    this call.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


TRIM_S = 10.0
"""Seconds between two searches for small blocks. A search takes 2 ms, and 0.1 ms for each megabyte that it returns."""


@asynccontextmanager
async def small_blocks_returned() -> AsyncIterator[None]:
    """Return small freed blocks to the system while the block runs.

    Pieces of sound and of responses lie between blocks that live longer, so glibc does not shorten the heap: after an
    hour with many clients, the process would keep the most memory that it ever used.
    """
    async with background(_trim()):
        yield


async def _trim() -> None:
    with suppress(AttributeError, OSError):
        trim = ctypes.CDLL(None).malloc_trim
        while True:
            await asyncio.sleep(TRIM_S)
            await asyncio.to_thread(trim, 0)
