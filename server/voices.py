"""`GET /v1/audio/voices`: who can speak."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from pipeline.assistant import Assistant
from pipeline.voices import Voice
from server.access import Access, refuse

router = APIRouter(prefix="/v1/audio", tags=["voices"])


@router.get("/voices")
async def voices(request: Request) -> Response:
    """The voices that are there now."""
    access: Access = request.app.state.access
    if not access.has_key(request):
        return refuse(401, "unauthorized", "Send a key: Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"})
    assistant: Assistant = request.app.state.assistant
    return JSONResponse({"voices": [_described(assistant, voice) for voice in assistant.voices]})


def _described(assistant: Assistant, voice: Voice) -> dict[str, Any]:
    return {
        "id": voice.name,
        "name": voice.name,
        "description": voice.description,
        "languages": list(voice.languages),
        "default": voice.name == assistant.settings.voice_name,
    }
