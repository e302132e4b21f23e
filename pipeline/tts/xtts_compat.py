"""Importing coqui-tts where torch has no CUDA. Imported in the worker of XTTS only.

Two wheels of its stack link CUDA's libraries whatever torch is installed beside them: torchaudio loads its extension
without asking, and coqui-tts wants a torchcodec to exist. XTTS needs neither: of torchaudio only functions written in
Python, and of torchcodec nothing, because recordings are decoded by `pipeline.audio`. The real ones are tried first.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def import_coqui() -> None:
    """Make `import TTS` work. Raises ImportError when it cannot."""
    import_torchaudio()
    with _named_module("torchcodec"):
        importlib.import_module("TTS")


def import_torchaudio() -> None:
    """Make `import torchaudio` work where it is installed. Raises ImportError when it is not."""
    try:
        importlib.import_module("torchaudio")
        return
    except OSError:  # its extension wants a CUDA library that is not here
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
    sys.modules["torchaudio._extension"] = _no_extension()
    importlib.import_module("torchaudio")


def _no_extension() -> ModuleType:
    """What `torchaudio._extension` is where the extension was not built: torchaudio asks these names of it."""

    def fail_if_no_align(function: Any) -> Any:
        @functools.wraps(function)
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("torchaudio's extension is not loaded here")

        return fail

    module = ModuleType("torchaudio._extension")
    for name, value in {
        "__path__": [],
        "_IS_TORCHAUDIO_EXT_AVAILABLE": False,
        "_IS_ALIGN_AVAILABLE": False,
        "fail_if_no_align": fail_if_no_align,
    }.items():
        setattr(module, name, value)
    return module


@contextmanager
def _named_module(name: str) -> Iterator[None]:
    """An empty module of that name while the block runs, if there is none: enough for who only asks whether it is."""
    if importlib.util.find_spec(name) is not None:
        yield
        return
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
