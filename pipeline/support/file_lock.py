"""A lock file between processes; the kernel releases it without notice when its holder ends, even by SIGKILL."""

import fcntl
from pathlib import Path
from typing import IO

from pipeline.support.private_files import opener, private_folder


def open_lock(path: Path) -> IO[bytes]:
    """Open a lock file, and create it and its folder if necessary. Raises OSError."""
    private_folder(path.parent)
    return open(path, "ab", opener=opener)


def locked(file: IO[bytes]) -> bool:
    """Lock the file until it is closed; return False while another process holds it. Raises OSError where files cannot
    be locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
