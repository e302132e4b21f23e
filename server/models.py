"""`GET /models`: which models for recordings this machine can run."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from pipeline.assistant import Assistant
from server.access import require_key

router = APIRouter(tags=["models"], dependencies=[Depends(require_key)])


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The models that this machine can run, by the ids that jobs take, with the device each would run on."""
    assistant: Assistant = request.app.state.assistant
    return {
        "models": [
            {
                "id": one.choice.id,
                "model": one.choice.model,
                "implementation": one.choice.implementation,
                "compute_type": one.choice.compute_type,
                "requires_gpu": one.choice.requires_gpu,
                "device": one.device,
                "description": one.choice.description,
            }
            for one in assistant.recognisers.runnable
        ]
    }
