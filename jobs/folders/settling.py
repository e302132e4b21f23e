"""The rule for complete files: a file whose size and time have not changed for a while.

Programs that copy a file do not report its end, and over a network they also pause. A file that was renamed into the
folder waits as long, because it looks like a new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.folders.looking import Stamp

SETTLE_S = 10.0
"""Time for which a complete file has not changed, in seconds: longer than the pauses of a copy over a network."""


@dataclass(slots=True)
class _File:
    stamp: Stamp
    since: float
    """Time at which it was seen with this stamp first."""
    done: bool = False


class Settling:
    """The files of one folder, as the last looks have shown them."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def seen(self, found: Mapping[str, Stamp], now: float) -> None:
        """Note what a look has found. now: its time in seconds, on any clock that never goes back."""
        files: dict[str, _File] = {}
        for path, stamp in found.items():
            known = self._files.get(path)
            files[path] = known if known is not None and known.stamp == stamp else _File(stamp, now)
        self._files = files

    def settled(self, now: float) -> list[tuple[str, Stamp]]:
        """Return the complete files that are not done, those that changed first at the beginning."""
        ready = [
            (file.stamp.mtime_ns, path)
            for path, file in self._files.items()
            if not file.done and now - file.since >= SETTLE_S
        ]
        return [(path, self._files[path].stamp) for _, path in sorted(ready)]

    @property
    def waiting(self) -> int:
        """Number of files that are not done."""
        return sum(not file.done for file in self._files.values())

    def done(self, path: str) -> None:
        """Leave a file alone until it changes."""
        if (file := self._files.get(path)) is not None:
            file.done = True

    def again(self, path: str, now: float) -> None:
        """Let a file settle once more: it is still being written."""
        if (file := self._files.get(path)) is not None:
            file.since = now
