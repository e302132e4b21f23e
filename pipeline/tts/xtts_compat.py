"""Import of coqui-tts where torch has no CUDA. For the XTTS worker only.

Two wheels of its stack link CUDA's libraries whichever torch is installed: torchaudio always loads its extension, and
coqui-tts requires torchcodec to exist. XTTS needs neither: it uses only torchaudio's Python functions, and nothing of
torchcodec, because `pipeline.audio.clip` decodes recordings. The real modules are tried first.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn


def import_coqui() -> None:
    """Make `import TTS` work. Raises ImportError when that is impossible."""
    import_torchaudio()
    with _named_module("torchcodec"):
        importlib.import_module("TTS")


def import_torchaudio() -> None:
    """Make `import torchaudio` work where it is installed. Raises ImportError when it is not."""
    try:
        importlib.import_module("torchaudio")
        return
    except OSError:  # its extension needs a CUDA library that is missing
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
    sys.modules["torchaudio._extension"] = _no_extension()
    importlib.import_module("torchaudio")


def _no_extension() -> ModuleType:
    """Return a `torchaudio._extension` as in builds without the extension, with the names that torchaudio uses."""

    def fail_if_no_align(function: Callable[..., object]) -> Callable[..., NoReturn]:
        @functools.wraps(function)
        def fail(*args: object, **kwargs: object) -> NoReturn:
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
    """Provide an empty module of that name during the block if it is not installed, for code that only checks whether
    it exists."""
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
