"""Return freed memory to the system."""

import ctypes
import sys
from contextlib import suppress

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
