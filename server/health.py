"""`GET /` and `/health…`: is it alive, is it ready, and what does it run on."""

import functools
import importlib.metadata
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from pipeline.assistant import Assistant
from pipeline.workers.hardware import Hardware

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process runs and answers."""
    return {"status": "ok"}


@router.get("/health/ready")
async def ready(request: Request) -> dict[str, str]:
    """All stages are loaded: the service starts to listen only then."""
    return {"status": "ok" if hasattr(request.app.state, "assistant") else "starting"}


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """The state of the service, its hardware and its engines."""
    return {"status": "ok", **hardware(request), "engines": engines(request)}


@router.get("/")
async def root(request: Request) -> dict[str, Any]:
    """What this is, and where to go on."""
    return {
        "status": "ok", "message": "Parley is listening.", "websocket": "/ws", "docs": "/docs",
        **hardware(request), "engines": engines(request),
    }  # fmt: skip


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
