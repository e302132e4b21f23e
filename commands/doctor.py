"""`python main.py doctor`: what is installed, what is missing, and the command that fixes it."""

import asyncio
import platform
import shutil
from collections.abc import Awaitable, Iterator
from pathlib import Path

from commands.mic import sound_system
from commands.models import installed
from commands.start import JsonOption, load_settings, print_rows, run
from jobs.folders import mounts
from jobs.folders.configured import configured
from jobs.folders.output import MARK, NOT_THERE, Output
from pipeline import llm, stt, tts
from pipeline.engines import load
from pipeline.errors import EngineUnavailable, ParleyError
from pipeline.listening import smart_turn
from pipeline.settings import Settings
from pipeline.support import measurements, model_sources
from pipeline.support.file_sizes import file_sizes
from pipeline.support.installing import COMMAND
from pipeline.support.model_catalogue import CATALOGUE
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
    machine, models = await asyncio.to_thread(lambda: (_machine(settings), list(_models(settings))))
    folders = await asyncio.to_thread(lambda: list(_folders(settings)))
    print_rows([*machine, *folders, *models, *engines], as_json=as_json)


async def _probed(what: str, probe: Awaitable[None]) -> dict[str, object]:
    try:
        async with asyncio.timeout(10):
            await probe
    except ParleyError as error:
        return _row(what, "missing", error.message, error.remedy)
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
        _row(
            "disk",
            "ok" if free_gb > MIN_FREE_GB else "low",
            f"{free_gb:.0f} GB free for models",
            "" if free_gb > MIN_FREE_GB else "Set MODELS_DIR to a larger disk.",
        ),
        _row("microphone", "missing" if mic else "ok", *mic),
    ]


def _folders(settings: Settings) -> Iterator[dict[str, object]]:
    """Yield a row for each folder of WATCH_DIR, and one for the place of its results. Raises ConfigError."""
    for place in configured(settings):
        yield _folder(f"watch {place.root}", place.root)
        if place.output is not None:
            used = Output(place.output, settings.upload_dir)
            yield _folder(f"results {place.output}", place.output, "" if used.is_ready() else NOT_THERE)


def _folder(what: str, folder: Path, trouble: str = "") -> dict[str, object]:
    if (drive := mounts.missing(folder)) is not None:
        return _row(what, "missing", f"Its drive {drive} is not mounted.", f"mount {drive}")
    if not folder.is_dir():
        return _row(what, "missing", "It does not exist.", f"mkdir -p {folder}, or mount its drive.")
    if trouble:
        return _row(what, "missing", f"{trouble[:1].upper()}{trouble[1:]}.", f"touch {folder / MARK}")
    return _row(what, "ok", "")


def _models(settings: Settings) -> Iterator[dict[str, object]]:
    """Yield a row for each folder in MODELS_DIR, with its size and where it came from."""
    place = settings.models_dir.resolve()
    known = {one.folder.name: one for one in installed(settings)}
    folders = sorted(one for one in place.iterdir() if one.is_dir()) if place.is_dir() else []
    folders = [one for one in folders if not one.name.startswith(".") and one.name != measurements.FOLDER]
    if not folders:
        remedy = f"The first start downloads them, or: {COMMAND} models --install NAME"
        yield _row("models", "none", f"{place} has none.", remedy)
    for folder in folders:
        megabytes = sum(file_sizes(folder)) / 1e6
        if folder.name in CATALOGUE and folder.name not in known:
            remedy = f"{COMMAND} models --install {folder.name}"
            yield _row(f"model {folder.name}", "incomplete", f"{megabytes:.0f} MB", remedy)
        else:
            one = known.get(folder.name) or model_sources.described(folder)
            detail = (f"{megabytes:.0f} MB", one.source, one.licence)
            yield _row(f"model {folder.name}", "ok", ", ".join(filter(None, detail)))


def _microphone() -> tuple[str, ...]:
    """Return why `talk --mic` would not work, and the fix; empty if it would."""
    try:
        sound_system()
    except EngineUnavailable as error:
        return error.message, error.remedy
    return ()


def _row(what: str, state: str, detail: str, remedy: str = "") -> dict[str, object]:
    return {"what": what, "state": state, "detail": detail, "remedy": remedy}
