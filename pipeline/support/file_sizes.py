"""Sizes of the files in a folder that changes meanwhile."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def file_sizes(folder: Path) -> Iterator[int]:
    """Yield the size of each file in a folder and below, in bytes. Files and folders that vanish are left out:
    `Path.rglob` raises FileNotFoundError for a folder that is removed while it searches."""
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield Path(place, name).stat().st_size
