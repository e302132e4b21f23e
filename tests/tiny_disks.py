"""Disks of a few megabytes for one process: tmpfs in a separate mount namespace."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.namespaces import idle

UNSHARE = ("unshare", "--map-root-user", "--user", "--mount")
"""Works without root if the kernel permits it."""
_tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
needs_disks = pytest.mark.skipif(
    _tried.returncode != 0, reason="mount namespaces are not permitted here (unshare --user --mount)"
)


@dataclass(frozen=True)
class Disks:
    """Disks under one folder, by name."""

    folder: Path
    pid: str
    """The process whose namespaces have them."""

    def seen_by(self, pid: int, name: str) -> Path:
        """Return the path of a disk for other processes."""
        return Path(f"/proc/{pid}/root{self.folder / name}")

    def fill(self, pid: int, name: str) -> None:
        """Fill a disk to the last byte."""
        with open(self.seen_by(pid, name) / "filling", "ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def empty(self, pid: int, name: str) -> None:
        """Remove what `fill` has written."""
        (self.seen_by(pid, name) / "filling").unlink()

    def make_read_only(self, pid: int, name: str) -> None:
        command = ["nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials"]
        subprocess.run([*command, "mount", "-o", "remount,ro", str(self.folder / name)], check=True)


@contextmanager
def mounted(folder: Path, megabytes: Mapping[str, int]) -> Iterator[Disks]:
    """Mount disks under a folder, by name, until the end of the block."""
    mounts = [
        f"mkdir -p '{folder / name}' && mount -t tmpfs -o size={size}m none '{folder / name}'"
        for name, size in megabytes.items()
    ]
    process = idle([*UNSHARE, "sh", "-ec", " && ".join([*mounts, 'exec "$@"']), "sh"])
    try:
        yield Disks(folder, str(process.pid))
    finally:
        process.kill()
        process.wait()
