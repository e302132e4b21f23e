"""What to install, from requirements.lock: a requirements file with hashes, for `pip install --require-hashes --no-deps`.

`python deploy/locked.py [GROUP,…]`: the service itself and these extras. `--only GROUP,…`: these groups alone.
`--package NAME`: one package alone.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
BASE, BUILD = "base", "build"


@dataclass(frozen=True)
class Entry:
    """One package."""

    name: str
    text: str
    """Its requirement with its hashes, as pip reads it."""
    groups: frozenset[str] = frozenset()


def parse(text: str) -> list[Entry]:
    """The packages of a requirements file with hashes; a comment line before one names its groups."""
    found: list[Entry] = []
    groups: frozenset[str] = frozenset()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            groups = frozenset(line[1:].split())
        elif line.strip():
            lines.append(line)
            if not line.endswith("\\"):
                name = re.split(r"[=\s;\[]", lines[0], maxsplit=1)[0]
                found.append(Entry(name.lower(), "\n".join(lines), groups))
                lines = []
    return found


def chosen(entries: list[Entry], groups: set[str]) -> list[Entry]:
    """Those of these groups. Raises KeyError for a group that nothing belongs to."""
    if unknown := groups - set().union(*(entry.groups for entry in entries)):
        raise KeyError(f"requirements.lock has nothing for {', '.join(sorted(unknown))}; run: python -m deploy.lock")
    return [entry for entry in entries if entry.groups & groups]


def main(arguments: list[str]) -> str:
    entries = parse(LOCK.read_text("utf-8"))
    if arguments[:1] == ["--package"]:
        found = [entry for entry in entries if entry.name in arguments[1:]]
    else:
        only = arguments[:1] == ["--only"]
        named = {group for argument in arguments[only:] for group in argument.split(",") if group}
        found = chosen(entries, named if only else {BASE, *named})
    return "\n".join(entry.text for entry in found) + "\n"


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
