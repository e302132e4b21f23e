"""`/personas` and `/llm-models`: what a conversation can begin with."""

from fastapi import APIRouter, Depends, Request

from server.access import require_key
from server.openapi import ResponseModel, errors, like
from server.state import state_of

router = APIRouter(dependencies=[Depends(require_key)])


class PersonaResponse(ResponseModel):
    """A persona. Empty: as the deployment's settings say."""

    id: str
    name: str
    description: str
    voice: str
    language: str
    """ISO 639-1."""
    llm_model: str
    temperature: float | None


class PersonasResponse(ResponseModel):
    """All personas of the deployment."""

    model_config = like(
        {
            "personas": [
                {
                    "id": "teacher", "name": "Teacher", "description": "Explains step by step.", "voice": "woman",
                    "language": "", "llm_model": "", "temperature": 0.3,
                }
            ]
        }
    )  # fmt: skip

    personas: list[PersonaResponse]


@router.get("/personas", tags=["voices"], summary="List personas", responses=errors(401, 403, form="plain"))
async def personas(request: Request) -> PersonasResponse:
    """List the personas of the deployment, without their system prompts. `?persona=ID` begins a conversation with
    one."""
    found = [
        PersonaResponse(
            id=one.id, name=one.name, description=one.description, voice=one.voice, language=one.language,
            llm_model=one.llm_model, temperature=one.temperature,
        )
        for one in state_of(request).assistant.personas
    ]  # fmt: skip
    return PersonasResponse(personas=found)


class LanguageModelsResponse(ResponseModel):
    """The language models to choose from."""

    model_config = like({"default": "llama3.2", "models": ["llama3.2", "qwen3:8b"]})

    default: str
    """The model of conversations that choose none; empty: unknown."""
    models: list[str]
    """Empty without a server that has a choice."""


@router.get(
    "/llm-models",
    tags=["models"],
    summary="List language models for conversations",
    responses=errors(401, 403, form="plain"),
)
async def llm_models(request: Request) -> LanguageModelsResponse:
    """List the models of Ollama or of the OpenAI-compatible server that a conversation can choose (`?llm_model=`), as
    far as LLM_MODELS allows it. The list is at most 10 s old."""
    assistant = state_of(request).assistant
    names = list(await assistant.models.names())
    return LanguageModelsResponse(default=assistant.models.usual if names else "", models=names)
