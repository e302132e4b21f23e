"""Turn disk failures into errors that name the setting to check."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import StorageError, StorageFailed, StorageFull
from pipeline.settings import Settings

TEMPORARY = "TMPDIR"
"""Environment variable of the folder for temporary files, which is not one of our settings."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, no quota, or a limit on the size of files (ulimit -f)."""
LITTLE_BYTES = 64 << 10
"""A disk with less free space than this counts as full."""


def storage_full(setting: str) -> StorageFull:
    """Return the error for a full disk."""
    return StorageFull(f"The disk is full: nothing more can be stored in {setting}.", setting=setting)


def storage_error(error: OSError, setting: str) -> StorageError:
    """Convert an operating system error at this setting's folder, without its path."""
    if error.errno in FULL:
        return storage_full(setting)
    return StorageFailed(f"{setting} cannot be used: {error.strerror or type(error).__name__}.", setting=setting)


def full_place(settings: Settings) -> str:
    """Return the setting of the first folder whose disk is full, for a failure without a location. Blocking."""
    folders: dict[str, str | Path] = {
        TEMPORARY: tempfile.gettempdir(), "UPLOAD_DIR": settings.upload_dir, "MODELS_DIR": settings.models_dir,
        "VOICES_DIR": settings.voices_dir, "RECORDINGS_DIR": settings.recordings_dir,
    }  # fmt: skip
    for setting, folder in folders.items():
        with suppress(OSError):
            if shutil.disk_usage(folder).free < LITTLE_BYTES:
                return setting
    return TEMPORARY


@contextmanager
def storing(setting: str) -> Iterator[None]:
    """Convert an OSError in the block to a StorageError with the name of this setting."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, setting) from error
