"""`GET /models`: the available models for recordings."""

import asyncio

from fastapi import APIRouter, Depends, Request

from pipeline.engines import EngineInfo
from pipeline.stt.recognisers import Recognisers, languages_named
from server.access import require_key
from server.openapi import ResponseModel, like
from server.state import state_of

router = APIRouter(tags=["models"], dependencies=[Depends(require_key)])


class RecordingModel(ResponseModel):
    """A model for recordings."""

    id: str
    """Name of the model in jobs and requests."""
    model: str
    implementation: str
    compute_type: str | None
    requires_gpu: bool
    device: str
    description: str
    loaded: bool
    default: bool
    """Whether requests without a model use this one."""
    languages: list[str]
    """Languages (ISO 639-1) that it understands; empty: unknown."""


class ModelsResponse(ResponseModel):
    """The available models."""

    model_config = like(
        {
            "models": [
                {
                    "id": "small", "model": "small", "implementation": "faster-whisper", "compute_type": "int8",
                    "requires_gpu": False, "device": "cpu", "loaded": True, "default": True,
                    "description": "Always loaded; used by requests without a model.", "languages": ["de", "en"],
                }
            ]
        }
    )  # fmt: skip

    models: list[RecordingModel]


@router.get("/models", summary="Models for recordings")
async def models(request: Request) -> ModelsResponse:
    """List the models by the ids that jobs accept: first the default model, then models that this machine can run, then
    other models on disk. Models that are not `loaded` are loaded on first use."""
    assistant = state_of(request).assistant
    own = next((info for info in assistant.engines if info.stage == "stt"), None)
    elsewhere = bool(assistant.settings.modal_webhook_url)
    return ModelsResponse(models=await asyncio.to_thread(_listed, assistant.recognisers, own, elsewhere))


def _listed(recognisers: Recognisers, own: EngineInfo | None, elsewhere: bool) -> list[RecordingModel]:
    """elsewhere: whether a remote worker, whose default model is unknown, transcribes jobs."""
    found: dict[str, RecordingModel] = {}
    if own is not None:
        found[own.name] = RecordingModel(
            id=own.name, model=own.name, implementation=_implementation(own.engine),
            compute_type=own.compute_type or None, requires_gpu=False, device=own.device,
            description="Always loaded; used by requests without a model.", loaded=True, default=True,
            languages=[] if elsewhere else list(own.languages),
        )  # fmt: skip
    for one in recognisers.runnable:
        choice = one.choice
        found[choice.id] = RecordingModel(
            id=choice.id, model=choice.model, implementation=choice.implementation,
            compute_type=choice.compute_type, requires_gpu=choice.requires_gpu, device=one.device,
            description=choice.description, loaded=recognisers.is_loaded(recognisers.find(choice.id)),
            default=False, languages=list(languages_named(choice.model)),
        )  # fmt: skip
    for name in recognisers.here():
        there = recognisers.find(name)
        if there.settings is None or name in found:
            continue  # the default model, or one that is already listed
        found[name] = RecordingModel(
            id=name, model=name, implementation=_implementation("whisper"),
            compute_type=there.settings.whisper_compute_type, requires_gpu=False,
            device=there.settings.whisper_device, description="On this machine.",
            loaded=recognisers.is_loaded(there), default=False, languages=list(languages_named(name)),
        )  # fmt: skip
    return list(found.values())


def _implementation(engine: str) -> str:
    return "faster-whisper" if engine == "whisper" else engine
