"""The folder for the results of one watched folder, in OUTPUT_DIR: it is marked on its first use, and later nothing is
written into it without the mark. The empty folder in which a drive is mounted has none: results in it would be hidden
once the drive is back. All functions block, and raise OSError.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.folders import looking, mounts, results
from pipeline.support.private_files import opener, private_folder

MARK = ".parley-results"
"""Name of the file that marks the folder."""
NOT_THERE = f"its drive is not mounted, or it was replaced; to use this folder, create the empty file {MARK} in it"


class Output:
    """The folder for results."""

    def __init__(self, root: Path, notes: Path) -> None:
        """notes: the folder in which the first use is noted (UPLOAD_DIR)."""
        self._root = root
        self._note = notes / f"output-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Open the folder for the results of the file at this path in the watched folder; create it if necessary."""
        used = self._note.exists()
        if not used and (drive := mounts.missing(self._root)) is not None:
            raise FileNotFoundError(errno.ENOENT, f"its drive {drive} is not mounted")
        try:
            with looking.opened_folder(self._root, path, make=True, make_root=not used, check=self._check) as folder:
                yield folder
        except FileNotFoundError:
            if used and not self._root.exists():
                raise FileNotFoundError(errno.ENOENT, "it does not exist; mount its drive, or create it") from None
            raise

    def is_ready(self) -> bool:
        """Whether the folder has its mark, or was not used yet."""
        return not self._note.exists() or (self._root / MARK).exists()

    def _check(self, folder: int) -> None:
        """Check the mark, or set it on the first use. folder: its descriptor, which no unmounting exchanges."""
        with contextlib.suppress(FileNotFoundError):
            os.stat(MARK, dir_fd=folder, follow_symlinks=False)
            self._remember()
            return
        if self._note.exists():
            raise FileNotFoundError(errno.ENOENT, NOT_THERE)
        results.mark(folder, MARK)
        self._remember()

    def _remember(self) -> None:
        if not self._note.exists():
            private_folder(self._note.parent)
            with open(self._note, "ab", opener=opener):
                pass
