"""The requirements of pyproject.toml, one a line: for images, which install them in a layer of their own.

`python deploy/requirements.py [EXTRA,…]`: with extras, only what they add.
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The service's own requirements, or those of the extras. Raises KeyError for an extra that does not exist."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    if not extras:
        return list(project["dependencies"])
    return [requirement for extra in extras for requirement in project["optional-dependencies"][extra]]


if __name__ == "__main__":
    wanted = [extra for argument in sys.argv[1:] for extra in argument.split(",") if extra]
    print("\n".join(requirements(Path(__file__).parents[1] / "pyproject.toml", wanted)))
