"""The part of a document that is made by a program, between two comments."""

import sys
from pathlib import Path


def read(document: Path, begin: str, end: str) -> str:
    """Return the part, without the space around it."""
    return document.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def write(document: Path, begin: str, end: str, part: str) -> None:
    """Replace the part, and print it."""
    head, _, rest = document.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    document.write_text(f"{head}{begin}\n{part}\n{end}{tail}", encoding="utf-8")
    sys.stdout.write(part)
