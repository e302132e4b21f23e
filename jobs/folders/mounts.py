"""Drives that the system is to mount (`/etc/fstab`), and that are not mounted."""

import os
import re
from pathlib import Path

FSTAB = Path("/etc/fstab")
_OCTAL = re.compile(r"\\([0-7]{3})")


def missing(folder: Path, fstab: Path = FSTAB) -> Path | None:
    """Return the mount point at this folder or above it that is not mounted, or None."""
    try:
        lines = fstab.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    columns = (line.split() for line in lines if not line.lstrip().startswith("#"))
    points = {Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), one[1])) for one in columns if len(one) > 1}
    above = (one for one in [folder, *folder.parents] if one in points)
    return next((one for one in above if not os.path.ismount(one)), None)
