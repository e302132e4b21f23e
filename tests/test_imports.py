"""Imports point one way: commands and main → server → jobs → pipeline, and between the packages inside each."""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "pipeline": {"jobs", "server", "commands", "main", "fastapi", "starlette", "uvicorn", "sqlalchemy"},
    "jobs": {"server", "commands", "main", "fastapi", "starlette", "uvicorn"},
    "server": {"commands", "main"},
}
TYPING = "TYPE_CHECKING"


def modules(room: str) -> dict[str, Path]:
    """Return the files of a top-level package by their module names."""
    files = (ROOT / room).rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (module, imported names) for each import in a file, at any place in it except `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == TYPING:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, [alias.name for alias in node.names]
        waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_imports_point_one_way(room: str) -> None:
    files = modules(room)
    assert files
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files.values()
        for module, _ in imports(path)
        if (name := module.split(".")[0]) in FORBIDDEN[room]
    }
    assert not wrong


@pytest.mark.parametrize("room", ["pipeline", "server", "jobs"])
def test_packages_import_each_other_in_one_direction(room: str) -> None:
    check_direction(modules(room), name=package)


def test_realtime_modules_import_each_other_in_one_direction() -> None:
    check_direction({name: path for name, path in modules("server").items() if name.startswith("server.realtime.")})


def check_direction(files: dict[str, Path], name: Callable[[str], str] = str) -> None:
    """Fail if there is a circle. name: what a module counts as."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in files.items():
        for target, names in imports(path):
            for part in names or [""]:
                found = f"{target}.{part}" if f"{target}.{part}" in files else target
                if found in files:
                    graph[name(module)].add(name(found))
    for one, others in graph.items():
        others.discard(one)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def package(module: str) -> str:
    """Return the package or module directly below the top-level package: pipeline.stt.whisper → pipeline.stt."""
    return ".".join(module.split(".")[:2])
