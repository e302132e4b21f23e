"""Change constants of a service that a test starts: TEST_CONSTANTS is a JSON object of "module:NAME" or
"module:NAME.field" and values.

Python imports this file at its start, because `tests.server_process.environment` puts its folder on PYTHONPATH.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

CONSTANTS: dict[str, Any] = json.loads(os.environ.get("TEST_CONSTANTS", "{}"))


class Loader(SourceFileLoader):
    """Loads a module and sets its constants."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for place, value in CONSTANTS.items():
            name, _, constant = place.partition(":")
            if name == module.__name__:
                owner, _, field = constant.rpartition(".")
                holder = getattr(module, owner) if owner else module
                if not hasattr(holder, field):
                    raise ImportError(f"{name} has no constant {constant}")
                object.__setattr__(holder, field, value)  # a frozen dataclass, too


class Finder(PathFinder):
    """Finds the modules whose constants change."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(place.startswith(f"{fullname}:") for place in CONSTANTS):
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(fullname, spec.origin)
        return spec


if CONSTANTS:
    sys.meta_path.insert(0, Finder)
