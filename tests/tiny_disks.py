"""Disks of a few megabytes that only one process sees: tmpfs in a mount namespace of its own."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

UNSHARE = ("unshare", "--map-root-user", "--user", "--mount")
"""Without root, too, where the kernel permits it."""
_tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
needs_disks = pytest.mark.skipif(
    _tried.returncode != 0, reason="mount namespaces are not permitted here (unshare --user --mount)"
)


@dataclass(frozen=True)
class Disks:
    """Disks under one folder, by name."""

    folder: Path
    megabytes: Mapping[str, int]

    def within(self) -> list[str]:
        """A command that mounts them and then becomes the one that follows it."""
        mounts = [
            f"mkdir -p '{self.folder / name}' && mount -t tmpfs -o size={size}m none '{self.folder / name}'"
            for name, size in self.megabytes.items()
        ]
        return [*UNSHARE, "sh", "-ec", " && ".join([*mounts, 'exec "$@"']), "sh"]

    def seen_by(self, pid: int, name: str) -> Path:
        """Where a disk is for everybody else."""
        return Path(f"/proc/{pid}/root{self.folder / name}")

    def fill(self, pid: int, name: str) -> None:
        """Until nothing more goes in."""
        with open(self.seen_by(pid, name) / "filling", "ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def empty(self, pid: int, name: str) -> None:
        """Of what `fill` has put there."""
        (self.seen_by(pid, name) / "filling").unlink()

    def make_read_only(self, pid: int, name: str) -> None:
        command = ["nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials"]
        subprocess.run([*command, "mount", "-o", "remount,ro", str(self.folder / name)], check=True)
