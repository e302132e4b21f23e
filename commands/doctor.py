"""`python main.py doctor`: what is installed, what is missing, and the command that fixes it."""

import asyncio
import platform
import shutil
from collections.abc import Awaitable

from commands.mic import sound_system
from commands.models import installed
from commands.start import JsonOption, load_settings, print_rows, run
from pipeline import llm, stt, tts
from pipeline.engines import load
from pipeline.errors import EngineUnavailable, ParleyError
from pipeline.listening import smart_turn
from pipeline.settings import Settings
from pipeline.stt.models import runnable
from pipeline.support import model_sources
from pipeline.workers import hardware

MIN_FREE_GB = 2.0
"""Disk space for the models that a first start can download."""


def doctor(as_json: JsonOption = False) -> None:
    """Examine this machine: engines, hardware, disk space; for missing parts, the command that fixes it."""
    settings = load_settings()
    run(settings, _doctor(settings, as_json))


async def _doctor(settings: Settings, as_json: bool) -> None:
    stages = [
        ("stt", stt.ENGINES, settings.stt_engine),
        ("llm", llm.ENGINES, settings.llm_engine),
        ("tts", tts.ENGINES, settings.tts_engine),
    ]
    engines = await asyncio.gather(
        *(
            _probed(f"{stage} {name}", load(table, name).probe(settings))
            for stage, table, wanted in stages
            for name in table
            if name != "openai" or wanted == "openai"  # a remote server is probed only if it is configured
        ),
        _probed("turn smart-turn", model_sources.check(settings, smart_turn.NAME)),
    )
    print_rows([*_machine(settings), *engines], as_json=as_json)


async def _probed(what: str, probe: Awaitable[None]) -> dict[str, object]:
    try:
        async with asyncio.timeout(10):
            await probe
    except EngineUnavailable as error:
        return _row(what, "missing", error.message, error.remedy)
    except ParleyError as error:
        return _row(what, "missing", error.message)
    except TimeoutError:
        return _row(what, "missing", "It did not respond within 10 s.")
    return _row(what, "ok", "")


def _machine(settings: Settings) -> list[dict[str, object]]:
    found = hardware.detect()
    gpus = "; ".join(
        f"{gpu.name}, {gpu.memory_mb / 1024:.0f} GB, compute capability {gpu.compute_capability or 'unknown'}, "
        f"{', '.join(gpu.compute_types)}"
        for gpu in found.gpus
    )
    free_gb = shutil.disk_usage(settings.models_dir if settings.models_dir.exists() else ".").free / 1e9
    mic = _microphone()
    return [
        _row("python", "ok", platform.python_version()),
        _row("cpu", "ok", f"{found.cpu}, {found.cores} cores, {', '.join(found.cpu_features)}"),
        _row("memory", "ok", f"{found.memory_mb / 1024:.0f} GB"),
        _row("gpu", "ok" if gpus else "none", gpus or "Everything runs on the CPU."),
        _row("models", "ok", ", ".join(one.choice.id for one in runnable(found))),
        _row(
            "disk",
            "ok" if free_gb > MIN_FREE_GB else "low",
            f"{free_gb:.0f} GB free for models",
            "" if free_gb > MIN_FREE_GB else "Set MODELS_DIR to a larger disk.",
        ),
        *(
            _row(f"model {one.folder.name}", "ok", ", ".join(filter(None, (one.source, one.licence))))
            for one in installed(settings)
        ),
        _row("microphone", "missing" if mic else "ok", *mic),
    ]


def _microphone() -> tuple[str, ...]:
    """Return why `talk --mic` would not work, and the fix; empty if it would."""
    try:
        sound_system()
    except EngineUnavailable as error:
        return error.message, error.remedy
    return ()


def _row(what: str, state: str, detail: str, remedy: str = "") -> dict[str, object]:
    return {"what": what, "state": state, "detail": detail, "mend": remedy}  # language: allow
