"""`POST /v1/realtime/client_secrets`: ephemeral keys, with which browsers open Realtime sessions."""

import asyncio
import importlib
from typing import Literal, cast

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, JsonValue

from pipeline.support.json_types import JsonObject
from server.access import caller_of, require_key
from server.openapi import ResponseModel, errors, like
from server.realtime.route import DEFAULT_MODEL
from server.state import state_of

router = APIRouter(prefix="/v1/realtime/client_secrets", tags=["realtime"], dependencies=[Depends(require_key)])


MAX_FIELDS = 100
"""Limit of the fields of a session's configuration."""


class ExpiresAfter(BaseModel):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class Wanted(BaseModel):
    """The expiry of a secret, and the configuration of its sessions."""

    model_config = like({"expires_after": {"anchor": "created_at", "seconds": 600}, "session": {"type": "realtime"}})

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, JsonValue] = Field(default={}, max_length=MAX_FIELDS, description="As in `session.update`.")


class Made(ResponseModel):
    """A client secret."""

    model_config = like({"value": "ek_Zm9v…", "expires_at": 1795195860, "session": {"type": "realtime"}})

    value: str
    """Send it as a key: `Authorization: Bearer VALUE`, or the subprotocol `openai-insecure-api-key.VALUE`."""
    expires_at: int
    """Unix time. Until then the secret opens sessions, which continue after it."""
    session: dict[str, JsonValue]
    """The configuration with which each session begins."""


@router.post("", summary="Create a client secret", responses=errors(400, 401, 403, 429, 503))
async def client_secret(request: Request, wanted: Wanted) -> Made:
    """Create an ephemeral key for a browser. It opens Realtime sessions and nothing else, with this configuration, and
    ends with the key that it was created with."""
    state = state_of(request)
    initial = await asyncio.to_thread(importlib.import_module, "server.realtime.initial")
    session = cast("JsonObject", {"type": "realtime", **wanted.session} if wanted.session else {})
    config = initial.Config(
        state.assistant, model=DEFAULT_MODEL, transcription=session.get("type") == "transcription",
        lives_s=wanted.expires_after.seconds,
    )  # fmt: skip
    if session:
        state.access.client_secrets.check_room(caller_of(request), session)
        initial.begin_with(config, session)
    value, expires_at = state.access.client_secrets.make(caller_of(request), session, wanted.expires_after.seconds)
    await state.access.client_secrets.tell(value)
    return Made(value=value, expires_at=expires_at, session=config.json)
