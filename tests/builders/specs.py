"""CTranslate2's specifications of models, without torch."""

import importlib
import sys
from types import ModuleType


def import_specs() -> ModuleType:
    """Import `ctranslate2.specs`. It would import torch if that is installed, which takes seconds and is not needed."""
    if "torch" in sys.modules:
        return importlib.import_module("ctranslate2.specs")
    sys.modules["torch"] = None  # type: ignore[assignment]  # this import fails
    try:
        return importlib.import_module("ctranslate2.specs")
    finally:
        del sys.modules["torch"]
