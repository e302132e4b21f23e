"""Folders and files that only the user that Parley runs as can access, because they contain what users said."""

import os
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
"""Modes of new folders and files; existing ones keep the mode that the operator chose."""


def private_folder(path: Path) -> None:
    """Create a folder and its missing parents. Raises OSError."""
    try:
        path.mkdir(FOLDER, exist_ok=True)
    except FileNotFoundError:  # `parents` of mkdir would make the parents accessible to all users
        private_folder(path.parent)
        path.mkdir(FOLDER, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """Opener for `open` that creates private files."""
    return os.open(path, flags, FILE)
