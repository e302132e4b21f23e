"""`/v1/models`: what is loaded, and OpenAI's names for it."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request

from pipeline.assistant import Assistant
from pipeline.errors import BadInput
from server.documents import errors
from server.errors import BadField

router = APIRouter(tags=["models"])

ALIASES: Mapping[str, tuple[str, ...]] = {
    "stt": (
        "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize", "gpt-transcribe",
    ),
    "tts": ("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
    "llm": ("gpt-realtime", "gpt-realtime-mini"),
}  # fmt: skip
"""Stage → OpenAI's names, which all mean what is loaded."""


def names(assistant: Assistant, stage: str) -> list[str]:
    """What a model of this stage may be called: its own names first, then the aliases."""
    own: list[str] = []
    for info in assistant.engines:
        if info.stage == stage:
            plain = info.model.split(" (")[0].strip()
            own += [name for name in (plain, info.engine) if name and name not in own]
            settings = assistant.settings
            if info.engine == "whisper" and settings.whisper_model.rstrip("/").rpartition("/")[2] == plain:
                own += [f"whisper-{plain}", f"Systran/faster-whisper-{plain}", settings.whisper_model]
    return list(dict.fromkeys([*own, *ALIASES[stage]]))


def is_path(name: str) -> bool:
    """Whether it names a folder of the server, which is nobody's business."""
    return name.startswith(("/", ".", "~"))


def check_model(assistant: Assistant, stage: str, asked: str) -> None:
    """Raises BadField (model_not_found) for a name that is not what is loaded."""
    there = names(assistant, stage)
    if asked.strip().lower() not in {name.lower() for name in there}:
        raise BadField(
            "model", f"There is no model {asked[:60]!r}; there are: {', '.join(there)}.", code="model_not_found"
        )


def listed(assistant: Assistant, created: int) -> list[dict[str, Any]]:
    found = []
    for stage in ("stt", "tts", "llm"):
        own = {info.engine for info in assistant.engines} | {info.model.split(" (")[0] for info in assistant.engines}
        for name in names(assistant, stage):
            if not is_path(name):
                owner = "parley" if name in own else "alias"
                found.append({"id": name, "object": "model", "created": created, "owned_by": owner})
    return list({one["id"]: one for one in found}.values())


@router.get("/models", summary="The models that are loaded, and their aliases", responses=errors(401, 403))
async def models(request: Request) -> dict[str, Any]:
    """OpenAI's names (`whisper-1`, `tts-1`, `gpt-realtime`, …) are aliases of what is loaded."""
    return {"object": "list", "data": listed(request.app.state.assistant, request.app.state.started)}


@router.get("/models/{model:path}", summary="One model", responses=errors(401, 403, 404))
async def model(request: Request, model: str) -> dict[str, Any]:
    """404 when it is not loaded."""
    for one in listed(request.app.state.assistant, request.app.state.started):
        if one["id"] == model:
            return one
    raise BadInput(f"There is no model {model[:60]!r}.", code="model_not_found")
