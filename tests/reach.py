"""Tests that start a process, a browser or a speech model: read from their code, so that no list has to be kept."""

import functools
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

import pytest

STARTERS = {
    "subprocess", "create_subprocess_exec", "sync_playwright", "open_assistant", "open_best", "open_worker",
    "open_hearing", "open_model_host", "real_model", "torch", "TRAINED",
}  # fmt: skip
"""Names that start a process or load a model."""
MODELS = (
    "pipeline.stt.sphinx", "pipeline.stt.whisper", "pipeline.tts.pocket", "pipeline.tts.xtts", "pipeline.tts.kokoro",
    "pipeline.tts.piper", "pipeline.llm.local",
)  # fmt: skip
"""Modules whose engines load a speech model."""


def starts_a_service(test: pytest.Function) -> bool:
    """Whether the test, one of its fixtures or a helper in `tests` that they call starts a process or loads a model."""
    fixtures = [one.func for found in test._fixtureinfo.name2fixturedefs.values() for one in found]
    inner = getattr(getattr(test.function, "hypothesis", None), "inner_test", test.function)
    return any(map(_starts, (inner, *fixtures)))


@functools.cache
def _starts(function: object) -> bool:
    seen: set[object] = set()
    waiting = [function]
    while waiting:
        one = inspect.unwrap(waiting.pop())  # type: ignore[arg-type]
        if not isinstance(one, FunctionType | type) or one in seen:
            continue
        seen.add(one)
        if isinstance(one, type):
            waiting += vars(one).values()
            continue
        names = set(_names(one.__code__))
        if names & STARTERS or any(name.startswith(MODELS) and name.endswith("engine") for name in names):
            return True
        modules = [value for name in names if isinstance(value := one.__globals__.get(name), ModuleType)]
        for space in (one.__globals__, *map(vars, modules)):
            for name in names & space.keys():
                module = str(getattr(space[name], "__module__", ""))
                if module.startswith(MODELS) and (name.lower().endswith("engine") or module.endswith("_engine")):
                    return True
                if module.startswith("tests."):
                    waiting.append(space[name])
    return False


def _names(code: CodeType) -> Iterator[str]:
    """Return the names that this code and the functions inside it use."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
