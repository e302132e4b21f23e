"""`/upgrades`: better models than the basic ones, and their installation from the page's card about basic mode.

Only models of the catalogue can be installed, one after the other, into MODELS_DIR: their names, sizes and digests are
in this repository, and MODEL_SOURCES applies. A restart loads them, so that nothing changes during conversations.
"""

import asyncio
import functools
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from pipeline.engines import EngineInfo
from pipeline.errors import ParleyError
from pipeline.llm import ollama
from pipeline.settings import Settings
from pipeline.support import model_sources
from pipeline.support.installing import COMMAND
from pipeline.support.model_catalogue import CATALOGUE, KOKORO, WHISPER_BASE, WHISPER_TINY_EN
from pipeline.support.progress import Progress
from pipeline.support.storage_errors import storage_error
from server.access import caller_of, require_key
from server.openapi import ResponseModel, errors, like, one_of
from server.state import state_of

log = logging.getLogger(__name__)

OLLAMA_S = 3.0
"""Timeout for Ollama's list of models, in seconds."""
KEPT_S = 10.0
"""Time for which that list is kept, in seconds: pages ask every few seconds."""
BETTER: dict[tuple[str, str], tuple[str, ...]] = {
    ("stt", "sphinx"): (WHISPER_BASE.name, WHISPER_TINY_EN.name),
    ("stt", "tiny.en"): (WHISPER_BASE.name,),
    ("tts", "espeak"): (KOKORO.name,),
}
"""Stage and loaded engine or model → models of the catalogue that the next start prefers if they are there."""
STATES = ("available", "waiting", "downloading", "installed", "failed")


@dataclass(slots=True)
class Install:
    """The installation of one model."""

    state: str = "waiting"
    done: int = 0
    total: int = 0
    """Bytes; 0: unknown."""
    message: str = ""
    """Reason of a failure."""


class Upgrades:
    """The installations since the start."""

    def __init__(self, settings: Settings, tasks: asyncio.TaskGroup) -> None:
        self._settings = settings
        self._tasks = tasks
        self._one = asyncio.Lock()
        self._installs: dict[str, Install] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Lock()
        self._ollama: list[str] = []
        self._ask_at = -math.inf
        """Time at which Ollama is asked again."""

    def find(self, name: str) -> Install | None:
        """Return the latest installation of a model."""
        return self._installs.get(name)

    def begin(self, name: str) -> None:
        """Install a model of the catalogue after the ones before it. Does nothing if that has begun already."""
        before = self._installs.get(name)
        if before is not None and before.state != "failed":
            return
        self._installs[name] = Install()
        task = self._tasks.create_task(self._install(name, self._installs[name]))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def of_ollama(self) -> list[str]:
        """Return the names of Ollama's models, as they were within KEPT_S."""
        now = asyncio.get_running_loop().time
        async with self._asking:
            if now() >= self._ask_at:
                self._ollama = await _of_ollama(self._settings)
                self._ask_at = now() + KEPT_S
            return self._ollama

    def stop(self) -> None:
        """Cancel the installations. Files that arrived are kept for the next attempt."""
        for task in self._running:
            task.cancel()

    async def _install(self, name: str, install: Install) -> None:
        async with self._one:
            install.state = "downloading"
            try:
                await asyncio.to_thread(functools.partial(self._settings.models_dir.mkdir, parents=True, exist_ok=True))
                await model_sources.obtain(self._settings, name, functools.partial(_note, install))
                install.state = "installed"
            except ParleyError as error:
                install.state, install.message = "failed", error.full_message
            except OSError as error:
                install.state, install.message = "failed", storage_error(error, "MODELS_DIR").message
            except Exception:
                log.exception("the installation of %s failed", name)
                install.state, install.message = "failed", "It failed for an unexpected reason, which is in the log."


def _note(install: Install, progress: Progress) -> None:
    install.done, install.total = progress.done, progress.total


@asynccontextmanager
async def open_upgrades(settings: Settings) -> AsyncIterator[Upgrades]:
    """Yield the installations, which end with the block."""
    async with asyncio.TaskGroup() as tasks:
        upgrades = Upgrades(settings, tasks)
        try:
            yield upgrades
        finally:
            upgrades.stop()


class Upgrade(ResponseModel):
    """A better model for a stage."""

    name: str
    stage: str
    """stt or tts."""
    size: int
    """Size of its files in bytes."""
    licence: str
    """Identifier of SPDX."""
    state: Annotated[str, one_of(*STATES)]
    """installed: a restart of the service loads it."""
    done: int
    """Bytes that have arrived."""
    total: int
    """Bytes to download; 0: unknown."""
    message: str
    """Reason of a failure."""


class UpgradesResponse(ResponseModel):
    """The better models for this deployment."""

    model_config = like(
        {
            "models": [
                {
                    "name": "whisper-base", "stage": "stt", "size": 150218481, "licence": "MIT", "state": "downloading",
                    "done": 12_000_000, "total": 150_226_579, "message": "",
                }
            ],
            "can_install": True, "command": "python main.py models --install", "ollama": ["llama3.2:latest"],
        }
    )  # fmt: skip

    models: list[Upgrade]
    can_install: bool
    """Whether this caller can install them with POST."""
    command: str
    """The command that installs a model, without its name."""
    ollama: list[str]
    """Models of the Ollama server, while the service has no language model."""


router = APIRouter(tags=["models"], dependencies=[Depends(require_key)])


@router.get("/upgrades", summary="Better models")
async def upgrades(request: Request) -> UpgradesResponse:
    """List models that are better than the loaded ones and can be installed, and the models of Ollama."""
    state = state_of(request)
    settings, engines = state.assistant.settings, state.assistant.engines
    offered = offers(settings, engines)
    models = await asyncio.to_thread(lambda: [_shown(settings, state.upgrades, *one) for one in offered])
    basic_llm = any(info.stage == "llm" and info.engine == "builtin" for info in engines)
    asks = basic_llm and settings.llm_engine in ("auto", "ollama")
    return UpgradesResponse(
        models=models,
        can_install=_can_install(request),
        command=f"{COMMAND} models --install",
        ollama=await state.upgrades.of_ollama() if asks else [],
    )


@router.post("/upgrades/{name}", summary="Install a better model", status_code=202, responses=errors(404, form="plain"))
async def install(request: Request, name: str) -> UpgradesResponse:
    """Download a model of `GET /upgrades`, which then reports the progress. Without keys, only this machine's own
    callers can do this, and with `ALLOW_ANONYMOUS` only callers with a key."""
    if not _can_install(request):
        raise ParleyError("Models can be installed with a key, or from the service's own machine without "
                          "ALLOW_ANONYMOUS.", code="forbidden")  # fmt: skip
    state = state_of(request)
    if name not in [one for _, one in offers(state.assistant.settings, state.assistant.engines)]:
        raise ParleyError("There is no such model among the upgrades.", code="model_not_found")
    state.upgrades.begin(name)
    return await upgrades(request)


def _can_install(request: Request) -> bool:
    """Whether the caller may install models: with a key (which the access rules have checked), or from this machine.
    With ALLOW_ANONYMOUS only with a key: behind a proxy that passes no addresses on, all callers seem to be on this
    machine. Several processes do not know of each other's downloads."""
    caller, settings = caller_of(request), state_of(request).assistant.settings
    here = not caller.address and not settings.allow_anonymous
    return (caller.known or here) and settings.processes == 1


def offers(settings: Settings, engines: Sequence[EngineInfo]) -> list[tuple[str, str]]:
    """Return stage and name of each better model; none for a stage whose engine is set by name, and only those that the
    next start uses: Whisper base only where SPEECH_LANGUAGE is not English (`pipeline.stt.weights.choose`)."""
    chosen = {"stt": settings.stt_engine, "tts": settings.tts_engine}
    english = settings.speech_language.partition("-")[0] in ("", "en")
    return [
        (info.stage, name)
        for info in engines
        if chosen.get(info.stage) == "auto"
        for name in BETTER.get((info.stage, info.engine), ()) or BETTER.get((info.stage, info.name), ())
        if not (english and name == WHISPER_BASE.name)
    ]


def _shown(settings: Settings, known: Upgrades, stage: str, name: str) -> Upgrade:
    """Return a model with the state of its installation. Blocking."""
    model, install = CATALOGUE[name], known.find(name)
    if install is None:
        here = model_sources.find(settings, name) is not None
        install = Install("installed" if here else "available")
    return Upgrade(
        name=name, stage=stage, size=model.size, licence=model.licence, state=install.state, done=install.done,
        total=install.total, message=install.message,
    )  # fmt: skip


async def _of_ollama(settings: Settings) -> list[str]:
    try:
        async with asyncio.timeout(OLLAMA_S):
            return await ollama.installed(settings)
    except TimeoutError:
        return []
