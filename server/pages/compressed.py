"""Files in gzip, compressed once and kept in memory."""

import gzip
from functools import lru_cache
from pathlib import Path

FILES_KEPT = 256
"""More than the page and the API reference have, so that memory is bounded where files change often."""
WORTH_IT = 0.8
"""Part of its size to which a file must shrink to be sent in gzip."""


def compressed(data: bytes) -> bytes:
    """Return data in gzip, always the same for the same data."""
    return gzip.compress(data, mtime=0)


@lru_cache(FILES_KEPT)
def compressed_file(path: Path, mtime_ns: int, size: int) -> bytes | None:
    """Return a file in gzip; None if it hardly becomes smaller, as with images. Blocks. Raises OSError.

    mtime_ns, size: of the file; it is compressed again when they have changed.
    """
    packed = compressed(path.read_bytes())
    return packed if len(packed) < WORTH_IT * size else None
