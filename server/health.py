"""`GET /` and `/health…`: is it alive, is it ready, and what does it run on."""

import functools
import importlib.metadata
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from pipeline.assistant import Assistant
from pipeline.workers.hardware import Hardware
from server.access import caller_of
from server.draining import RETRY_S, Draining

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process runs and answers: while this does, there is no need to start it again."""
    return {"status": "ok"}


@router.get("/health/ready", responses={503: {"description": "The service starts or stops: ask another one."}})
async def ready(request: Request, response: Response) -> dict[str, str]:
    """Whether new conversations are taken: all stages are loaded, and the service is not being stopped."""
    status = state(request)
    if status != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = f"{RETRY_S:g}"
    return {"status": status}


def state(request: Request) -> str:
    """starting, ok, or draining."""
    draining: Draining = request.app.state.draining
    if draining.begun.is_set():
        return "draining"
    return "ok" if hasattr(request.app.state, "assistant") else "starting"


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """The state of the service, its hardware and its engines; for who lacks a key, only that it lives."""
    return {"status": state(request), **_details(request)}


@router.get("/")
async def root(request: Request) -> dict[str, Any]:
    """What this is, and where to go on."""
    return {
        "status": state(request), "message": "Parley is listening.", "websocket": "/ws", "docs": "/docs",
        **_details(request),
    }  # fmt: skip


def _details(request: Request) -> dict[str, Any]:
    """What it runs on, for callers with any right."""
    if not caller_of(request).rights:
        return {}
    return {**hardware(request), "engines": engines(request)}


def engines(request: Request) -> list[dict[str, Any]]:
    assistant: Assistant = request.app.state.assistant
    return [asdict(info) for info in assistant.engines]


def hardware(request: Request) -> dict[str, Any]:
    """Device and torch, without importing torch: it takes seconds, and the default install has none."""
    found: Hardware = request.app.state.hardware
    return {
        "device_available": "cuda" if found.cuda else "cpu",
        "torch_version": _torch_version(),
        "cuda_available": found.cuda,
        "fp16_supported": found.fp16,
        "hardware": asdict(found),
    }


@functools.cache
def _torch_version() -> str | None:
    """Looked up once: it reads files, and does not change."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
