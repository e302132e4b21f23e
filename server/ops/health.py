"""`GET /` and `/health…`: liveness, readiness and hardware of the service."""

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, TypedDict

from fastapi import APIRouter, Request, Response

from pipeline.engines import EngineInfo
from pipeline.errors import HostLost, StorageError
from pipeline.listening.wake_word import WAKE_WORDS, wake_words
from pipeline.llm.builtin.understanding import LANGUAGES
from pipeline.support.installing import how_to_install
from pipeline.support.progress import Progress
from pipeline.transcripts.refine import Installed
from pipeline.workers.hardware import Hardware
from server.access import caller_of
from server.http.draining import RETRY_S
from server.http.starting import steps_of
from server.openapi import ResponseModel, like, one_of
from server.state import has_started, state_of

router = APIRouter(tags=["health"])
LIVES = ("starting", "ok", "draining")
"""States of the service."""
HARDWARE: dict[str, object] = {
    "device_available": "cpu", "torch_version": None, "cuda_available": False, "fp16_supported": False,
    "hardware": {
        "cpu": "AMD EPYC", "cores": 8, "memory_mb": 32_000, "cpu_features": ["avx2"],
        "cpu_compute_types": ["float32", "int8"], "gpus": [],
    },
    "limits": {"file_bytes": 524_288_000, "file_seconds": 21_600.0},
    "speakers": {"available": True, "command": None},
    "alignment": {"available": False, "command": "make install EXTRAS=align"},
    "records": False, "fallbacks": ["For that I need a language model."],
}  # fmt: skip
ENGINE: dict[str, object] = {
    "stage": "stt", "engine": "whisper", "model": "small (int8)", "device": "cpu", "ready_s": 2.1, "notes": [],
    "languages": ["en"], "name": "small", "compute_type": "int8", "source": "hub", "licence": "MIT",
    "load": {"replicas": 1, "loaded": 1, "running": 0, "waiting": 0, "restarts": 0, "lag_s": 0.0, "host": "local"},
}  # fmt: skip


class ServiceLimits(ResponseModel):
    """Limits of uploads, so that a page can check a file before it sends it."""

    file_bytes: int
    """Largest file (MAX_FILE_SIZE)."""
    file_seconds: float
    """Longest recording: 6 hours, or what MAX_FILE_SIZE holds at 192 kbit/s."""


class Refinement(ResponseModel):
    """Whether transcripts can be refined in one way."""

    available: bool
    """Whether its libraries are installed; true also where jobs run elsewhere, which is not checked."""
    command: str | None
    """Installs it, where it is not available."""


class Lives(ResponseModel):
    """Liveness of the service."""

    model_config = like({"status": "ok"})

    status: Annotated[str, one_of(*LIVES)]
    """starting, ok, or draining."""


class Readiness(Lives):
    """Readiness of the service, and the reason if it is not ready."""

    status: Annotated[str, one_of(*LIVES, "models_lost", "storage_failed", "storage_full")]
    """starting, ok, draining, or an error code: models_lost if this process has lost its models' machines and ends,
    storage_failed or storage_full if jobs cannot be stored."""
    message: str | None = None
    """Text of that error."""


class WatchedFolder(ResponseModel):
    """A folder of WATCH_DIR, as this process sees it."""

    folder: str
    """Its name."""
    status: Annotated[str, one_of("starting", "watching", "elsewhere", "unavailable", "blocked")]
    """elsewhere: another process watches it. unavailable: it cannot be read. blocked: its results cannot be written, or
    no job can be created."""
    message: str | None
    """The reason for the last two."""
    waiting: int
    """Number of files without a job so far."""


class LoadingStep(ResponseModel):
    """A step of the start."""

    step: Annotated[str, one_of("download", "load")]
    model: str
    done: int
    """Bytes."""
    total: int
    """Bytes; 0: unknown."""
    stage: Annotated[str, one_of("", "stt", "llm", "tts")]
    """The stage that the model is for; empty: unknown."""


class Health(Lives):
    """The state of the service. Hardware and engines only for callers with a key, if keys are required."""

    model_config = like({"status": "ok", **HARDWARE, "engines": [ENGINE]})

    loading: list[LoadingStep] | None = None
    """While it is starting: the models that are downloaded or loaded, as far as is known."""
    device_available: Annotated[str, one_of("cuda", "cpu")] | None = None
    """cuda or cpu."""
    torch_version: str | None = None
    """null: not installed; the service does not need it."""
    cuda_available: bool | None = None
    fp16_supported: bool | None = None
    hardware: Hardware | None = None
    engines: list[EngineInfo] | None = None
    watched_folders: list[WatchedFolder] | None = None
    """The folders of WATCH_DIR."""
    wake_words: dict[str, str] | None = None
    """Name → phrase of the wake words that conversations can have."""
    limits: ServiceLimits | None = None
    speakers: Refinement | None = None
    """`diarize`: the speakers of a transcript."""
    alignment: Refinement | None = None
    """`align`: times of words by forced alignment."""
    records: bool | None = None
    """RECORD: whether conversations are recorded, unless a client refuses."""
    fallbacks: list[str] | None = None
    """Replies of the built-in responder to what needs a language model, where it is in use."""


class Root(Health):
    """The state of the service, and links to its WebSocket and its documentation."""

    model_config = like(
        {
            "status": "ok", "message": "Parley is listening.", "websocket": "/ws", "docs": "/docs", **HARDWARE,
            "engines": [ENGINE],
        }
    )  # fmt: skip

    message: str
    websocket: str
    docs: str


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Check liveness")
async def live() -> Lives:
    """Return ok while the process responds. The process needs a restart only when this fails."""
    return Lives(status="ok")


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    summary="Check readiness",
    response_model_exclude_unset=True,
    responses={
        503: {
            "model": Readiness,
            "description": "The service is starting or stopping, or its database is unavailable, or it has lost the "
            "machines of its models: use another instance.",
        },
    },
)
async def ready(request: Request, response: Response) -> Readiness:
    """Return ok if all stages are loaded, the database is available, and the service is not stopping."""
    told = Readiness(status=phase(request))
    if has_started(request) and state_of(request).assistant.host_lost.is_set():
        lost = HostLost()
        told = Readiness(status=lost.code, message=lost.message)
    elif told.status == "ok":
        try:
            await state_of(request).jobs.check()
        except StorageError as error:
            told = Readiness(status=error.code, message=error.message)
    if told.status != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = f"{RETRY_S:g}"
    return told


def phase(request: Request) -> str:
    """Return starting, ok, or draining."""
    if not has_started(request):
        return "starting"
    return "draining" if state_of(request).draining.begun.is_set() else "ok"


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="State of the service", response_model_exclude_unset=True)
async def health(request: Request) -> Health:
    """Return the state of the service, its hardware and its engines. Callers without a key get only the state."""
    return Health(status=phase(request), **await _details(request))


@router.get("/", summary="Entry point", response_model_exclude_unset=True)
async def root(request: Request) -> Root:
    """Return the state of the service, and links to its WebSocket and its documentation."""
    return Root(
        status=phase(request), message="Parley is listening.", websocket="/ws", docs="/docs", **await _details(request)
    )


class Details(TypedDict, total=False):
    """The fields of `Health` that only callers with a key see."""

    loading: list[LoadingStep]
    device_available: str
    torch_version: str | None
    cuda_available: bool
    fp16_supported: bool
    hardware: Hardware
    engines: list[EngineInfo]
    wake_words: dict[str, str]
    watched_folders: list[WatchedFolder]
    limits: ServiceLimits
    speakers: Refinement
    alignment: Refinement
    records: bool
    fallbacks: list[str]


async def _details(request: Request) -> Details:
    """Return hardware and engines, or the progress of the start, for callers with any permission."""
    if not caller_of(request).permissions:
        return {}
    if not has_started(request):
        return {"loading": [_loading(step) for step in steps_of(request)]}
    return await details(request)


def _loading(step: Progress) -> LoadingStep:
    return LoadingStep(step=step.step, model=step.model, done=step.done, total=step.total, stage=step.stage)


async def details(request: Request) -> Details:
    """Return hardware, torch version and engines, without importing torch: the import takes seconds, and the default
    install does not include it."""
    assistant = state_of(request).assistant
    found, settings = assistant.recognisers.hardware, assistant.settings
    return {
        "device_available": "cuda" if found.cuda else "cpu",
        "torch_version": _torch_version(),
        "cuda_available": found.cuda,
        "fp16_supported": found.fp16,
        "hardware": found,
        "engines": list(assistant.engines),
        "wake_words": {name: WAKE_WORDS[name].phrase for name in wake_words()},
        **_watched(request),
        "limits": ServiceLimits(file_bytes=settings.max_file_size, file_seconds=settings.max_file_seconds),
        **await _refinements(request),
        "records": settings.record,
        **_fallbacks(assistant.engines),
    }


def _fallbacks(engines: Sequence[EngineInfo]) -> Details:
    if not any(info.engine == "builtin" for info in engines):
        return {}
    return {"fallbacks": [language.replies["fallback"][0] for language in LANGUAGES.values()]}


async def _refinements(request: Request) -> Details:
    state = state_of(request)
    here = state.jobs.here
    installed = await state.assistant.transcriber.refiners.installed() if here else Installed(True, True)

    def told(available: bool, extra: str) -> Refinement:
        return Refinement(available=available, command=None if available else how_to_install(extra))

    return {"speakers": told(installed.speakers, "speakers"), "alignment": told(installed.alignment, "align")}


def _watched(request: Request) -> Details:
    shown = [WatchedFolder(**asdict(one.shown)) for one in state_of(request).jobs.folders]
    return {"watched_folders": shown} if shown else {}


@functools.cache
def _torch_version() -> str | None:
    """Return the installed version, cached: the lookup reads files, and the version does not change."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
