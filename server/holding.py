"""Memory that is freed goes back to the system."""

import ctypes
import sys
from contextlib import suppress

M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""
LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Let the system have large blocks again as soon as they are freed.

    glibc takes blocks of more than a limit from the system one by one, but raises that limit (to 32 MB) whenever such a
    block is freed. From then on messages and sound of some megabytes lie between small blocks that stay, and their room
    stays with them. A limit that was set stays as it is. Other C libraries have no such call, and no need of it.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
