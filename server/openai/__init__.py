"""OpenAI's API: `/v1/audio/…`, `/v1/chat/completions` and `/v1/models`. `server.openai.voices` has `/v1/audio/voices`,
`voice_consents` the consents."""

from fastapi import APIRouter, Depends

from server.access import require_key
from server.openai import models, speech, transcriptions
from server.openai.chat import route

router = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
for part in (transcriptions, speech, models, route):
    router.include_router(part.router)
