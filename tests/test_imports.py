"""Imports point one way: commands and main → server → jobs → pipeline."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "pipeline": {"jobs", "server", "commands", "main", "fastapi", "starlette", "uvicorn", "sqlalchemy"},
    "jobs": {"server", "commands", "main", "fastapi", "starlette", "uvicorn"},
    "server": {"commands", "main"},
}


def imported(path: Path) -> Iterator[str]:
    """Yield top-level names of the modules that a file imports, at any place in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_imports_point_one_way(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = {
        f"{path.relative_to(ROOT)}: {name}" for path in files for name in imported(path) if name in FORBIDDEN[room]
    }
    assert not wrong
