"""Packages to install, from requirements.lock with hashes, for `pip install --require-hashes --no-deps`.

`python deploy/locked.py [GROUP,…]`: the service itself and these extras. `--only GROUP,…`: only these groups.
`--package NAME`: only this package.
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
BASE, BUILD, CUDA = "base", "build", "cuda"
"""Groups that are not extras; CUDA has the libraries that Whisper needs on an NVIDIA GPU."""


@dataclass(frozen=True)
class Entry:
    """One package."""

    name: str
    text: str
    """Its requirement with its hashes, in pip's format."""
    groups: frozenset[str] = frozenset()


def parse(text: str) -> list[Entry]:
    """Parse a requirements file with hashes; a comment line before a package names its groups."""
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


def check(groups: set[str]) -> None:
    """Raise KeyError for an extra that does not exist."""
    project = tomllib.loads(LOCK.with_name("pyproject.toml").read_text("utf-8"))["project"]
    if unknown := groups - {BASE, BUILD, CUDA, *project["optional-dependencies"]}:
        raise KeyError(f"pyproject.toml has no extra {', '.join(sorted(unknown))}")


def main(arguments: list[str]) -> str:
    entries = parse(LOCK.read_text("utf-8"))
    if arguments[:1] == ["--package"]:
        found = [entry for entry in entries if entry.name in arguments[1:]]
    else:
        only = arguments[:1] == ["--only"]
        named = {group for argument in arguments[only:] for group in argument.split(",") if group}
        check(named)
        groups = named if only else {BASE, *named}
        found = [entry for entry in entries if entry.groups & groups]
    return "\n".join(entry.text for entry in found) + "\n"


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
