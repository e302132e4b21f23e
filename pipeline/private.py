"""Folders and files for nobody but the user that Parley runs as: what people said is in them."""

import os
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
"""Modes of what is made; what is there already stays as somebody wanted it."""


def private_folder(path: Path) -> None:
    """Make it, and what is missing above it. Raises OSError."""
    try:
        path.mkdir(FOLDER, exist_ok=True)
    except FileNotFoundError:  # `parents` of mkdir would make those above it for everybody
        private_folder(path.parent)
        path.mkdir(FOLDER, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """For `open`: a file that is made is private."""
    return os.open(path, flags, FILE)
