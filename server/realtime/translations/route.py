"""The routes `/v1/realtime/translations` and `/v1/realtime/translations/client_secrets`."""

from typing import TYPE_CHECKING, cast

from fastapi import APIRouter, Depends, Request, WebSocket
from pydantic import BaseModel, Field, JsonValue

from pipeline.assistant import Assistant
from pipeline.errors import BadInput, ParleyError
from pipeline.support.json_types import JsonObject
from server.access import bound_session, caller_of, require_key
from server.access.client_secrets import TRANSLATIONS
from server.errors import error_response
from server.openapi import ResponseModel, errors, like
from server.realtime.client_secrets import ExpiresAfter
from server.realtime.route import MAX_MODEL_CHARS, SUBPROTOCOL, imported
from server.state import state_of

if TYPE_CHECKING:
    from server.realtime.translations.config import TranslationConfig
    from server.realtime.translations.connection import TranslationConnection

router = APIRouter(tags=["realtime"], dependencies=[Depends(require_key)])
PATH = "/v1/realtime/translations"
DEFAULT_MODEL = "gpt-realtime-translate"
"""The model name of a session without `?model=`."""
SESSION = {"model": DEFAULT_MODEL, "audio": {"output": {"language": "es"}}}


class NoLanguageModel(ParleyError):
    """The service has the built-in responder only, which cannot translate."""

    code = "language_model_required"

    def __init__(self) -> None:
        super().__init__(
            "Translations need a language model, and this service has none: start Ollama, or set LLM_ENGINE."
        )


class TranslationWanted(BaseModel):
    """The expiry of a secret, and the configuration of its sessions."""

    model_config = like({"expires_after": {"anchor": "created_at", "seconds": 600}, "session": SESSION})

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, JsonValue] = Field(description="`model`, and `audio` as in `session.update`.")


class TranslationSecret(ResponseModel):
    """A client secret for translations."""

    model_config = like(
        {"value": "ek_Zm9v…", "expires_at": 1795195860, "session": {"type": "translation", **SESSION}}
    )  # fmt: skip

    value: str
    """Send it as a key: `Authorization: Bearer VALUE`, or the subprotocol `openai-insecure-api-key.VALUE`."""
    expires_at: int
    """Unix time. Until then the secret opens sessions, which continue after it."""
    session: dict[str, JsonValue]
    """The configuration with which each session begins."""


@router.websocket(PATH)
async def translations(socket: WebSocket) -> None:
    """Run one session."""
    assistant = state_of(socket).assistant
    bound = bound_session(socket)
    model = str(bound.get("model", "")) or socket.query_params.get("model", "").strip()[:MAX_MODEL_CHARS]
    try:
        await _check_model(assistant)
        make = await imported("server.realtime.translations.connection", "TranslationConnection")
        connection: TranslationConnection = make(socket, assistant, model=model or DEFAULT_MODEL, session=bound)
    except ParleyError as error:
        await socket.send_denial_response(error_response(socket, error))
        return
    offered = socket.scope.get("subprotocols") or []
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    await connection.run()


@router.post(
    f"{PATH}/client_secrets",
    summary="Create a client secret for translations",
    responses=errors(400, 401, 403, 429, 503),
)
async def translation_secret(request: Request, wanted: TranslationWanted) -> TranslationSecret:
    """Create an ephemeral key for a browser. It opens translation sessions and nothing else, with this configuration,
    and ends with the key that it was created with."""
    state = state_of(request)
    await _check_model(state.assistant)
    session = cast("JsonObject", wanted.session)
    model = session.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        told = f"'session.model' must be a name of at most {MAX_MODEL_CHARS} characters."
        raise BadInput(told, code="invalid_value", param="session.model")
    make = await imported("server.realtime.translations.config", "TranslationConfig")
    config: TranslationConfig = make(
        model=model,
        lives_s=wanted.expires_after.seconds,
        noise_reduction=state.assistant.settings.noise_reduction,
    )
    config.begin_with(session)
    kept = cast("JsonObject", {"model": model, "audio": config.json["audio"]})
    value, expires_at = state.access.client_secrets.make(
        caller_of(request), kept, wanted.expires_after.seconds, TRANSLATIONS
    )
    await state.access.client_secrets.tell(value)
    return TranslationSecret(value=value, expires_at=expires_at, session=cast("dict[str, JsonValue]", config.json))


async def _check_model(assistant: Assistant) -> None:
    """Raises NoLanguageModel."""
    if not await assistant.has_model():
        raise NoLanguageModel
