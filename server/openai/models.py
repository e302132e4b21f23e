"""`/v1/models`: the loaded models, OpenAI's names for them, and models for recordings that are loaded on first use."""

import asyncio
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Request

from pipeline.assistant import Assistant
from pipeline.errors import BadInput
from pipeline.stt.recognisers import UnknownModel
from pipeline.support.openai_names import MODELS, known_as
from server.errors import BadField
from server.openapi import ResponseModel, errors, like
from server.state import state_of

router = APIRouter(tags=["models"])
MODEL: dict[str, object] = {"id": "whisper-1", "object": "model", "created": 1795190000, "owned_by": "alias"}


def names(assistant: Assistant, stage: str) -> list[str]:
    """Return the names of the models of a stage: their own names first, then the aliases. Reads the disk."""
    if stage == "stt":
        return assistant.recognisers.names()
    own: list[str] = []
    for info in assistant.engines:
        if info.stage == stage:
            own += [name for name in (info.name, info.engine) if name and name not in own]
    return list(dict.fromkeys([*own, *MODELS[stage]]))


def is_path(name: str) -> bool:
    """Whether the name is a path on the server, which clients must not see."""
    return name.startswith(("/", ".", "~"))


def check_model(assistant: Assistant, stage: str, asked: str) -> None:
    """Raise BadField (model_not_found) unless the name is empty or means the loaded model. For speech recognition, use
    `named`."""
    there = names(assistant, stage)
    plain = asked.strip().lower()
    if plain and known_as(plain, there) is None:
        raise BadField(
            "model", f"There is no model {asked[:60]!r}; available: {', '.join(there)}.", code="model_not_found"
        )


async def named(assistant: Assistant, asked: str, field: str = "model") -> str:
    """Check and return the name of a model for recordings. Raises BadField (model_not_found)."""
    try:
        await asyncio.to_thread(assistant.recognisers.find, asked)
    except UnknownModel as error:
        raise BadField(field, error.message, code=error.code) from None
    return asked


async def _listed(request: Request) -> list["OpenAIModel"]:
    state = state_of(request)
    return await asyncio.to_thread(listed, state.assistant, state.started)


def listed(assistant: Assistant, created: int, stages: Sequence[str] = ("llm", "stt", "tts")) -> list["OpenAIModel"]:
    """Return the models of these stages, in this order: chat programs choose the first name until their user chooses
    another. created: Unix time. Reads the disk."""
    found = []
    for stage in stages:
        own = {info.engine for info in assistant.engines} | {info.name for info in assistant.engines}
        for name in names(assistant, stage):
            if not is_path(name):
                owner = "parley" if name in own or name not in MODELS[stage] else "alias"
                found.append(OpenAIModel(id=name, object="model", created=created, owned_by=owner))
    return list({one.id: one for one in found}.values())


class OpenAIModel(ResponseModel):
    """A model in OpenAI's format."""

    model_config = like(MODEL)

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    """parley, or alias for OpenAI's names."""


class ModelList(ResponseModel):
    """All models."""

    model_config = like({"object": "list", "data": [MODEL]})

    object: Literal["list"]
    data: list[OpenAIModel]


@router.get(
    "/models",
    summary="List models and aliases",
    responses=errors(401, 403),
)
async def models(request: Request) -> ModelList:
    """List the models. OpenAI's names (`whisper-1`, `tts-1`, `gpt-realtime`, …) are aliases of the loaded models; other
    models for recordings are loaded when a request names them."""
    return ModelList(object="list", data=await _listed(request))


class SpeechModels(ResponseModel):
    """The models for speech, under both names that clients read."""

    model_config = like({"object": "list", "data": [MODEL], "models": [MODEL]})

    object: Literal["list"]
    data: list[OpenAIModel]
    models: list[OpenAIModel]


@router.get(
    "/audio/models",
    summary="List models for speech",
    responses=errors(401, 403),
)
async def speech_models(request: Request) -> SpeechModels:
    """List the values of `model` for `/v1/audio/speech`. Not in OpenAI's API: Open WebUI and others read it."""
    state = state_of(request)
    found = await asyncio.to_thread(listed, state.assistant, state.started, ("tts",))
    return SpeechModels(object="list", data=found, models=found)


@router.get(
    "/models/{model:path}",
    summary="Get a model",
    responses=errors(401, 403, 404),
)
async def model(request: Request, model: str) -> OpenAIModel:
    """Return one model of the list. OpenAI's names can end with a date. An unknown model is a 404."""
    there = {one.id: one for one in await _listed(request)}
    aliases = (name for stage in MODELS.values() for name in stage)
    known = model if model in there else known_as(model, aliases)
    if known in there:
        return there[known]
    raise BadInput(f"There is no model {model[:60]!r}.", code="model_not_found")
