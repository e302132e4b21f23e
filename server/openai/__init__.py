"""OpenAI's audio API: `/v1/audio/…` and `/v1/models`. `server.openai.voices` has `/v1/audio/voices`,
`voice_consents` the consents."""

from fastapi import APIRouter, Depends

from server.access import require_key
from server.openai import models, speech, transcriptions

router = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
for part in (transcriptions, speech, models):
    router.include_router(part.router)
