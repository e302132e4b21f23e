"""Parley's recordings on Modal's GPUs: `modal deploy deploy/modal_worker.py` (the package `modal`; docs/jobs.md).

Wants a Modal secret `parley` with WEBHOOK_SECRET (the same as the service's) and, if you like, WHISPER_MODEL. The
address that it prints is MODAL_WEBHOOK_URL; a proxy token of the workspace is MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.
"""

import os
from collections.abc import Iterator
from typing import Any

import modal

MODELS = "/models"
IMAGE = (
    modal.Image.from_registry("nvidia/cuda:12.9.1-cudnn-runtime-ubuntu22.04", add_python="3.11")
    .pip_install("faster-whisper==1.2.1", "fastapi==0.165.0", "httpx==0.28.1", "standardwebhooks==1.1.0")
    .add_local_python_source("deploy")
)
SECRET = modal.Secret.from_name("parley", required_keys=["WEBHOOK_SECRET"])
VOLUME = modal.Volume.from_name("parley-models", create_if_missing=True)

app = modal.App("parley", image=IMAGE, secrets=[SECRET])


@app.cls(gpu="L4", timeout=4 * 3600, volumes={MODELS: VOLUME}, scaledown_window=120)
class Recogniser:
    """One GPU with Whisper loaded; Modal starts as many as there are jobs."""

    @modal.enter()
    def load(self) -> None:
        from faster_whisper import WhisperModel

        name = os.environ.get("WHISPER_MODEL", "large-v3")
        self.model = WhisperModel(name, device="cuda", compute_type="float16", download_root=MODELS)
        VOLUME.commit()

    @modal.method()
    def run(self, job: dict[str, Any]) -> str:
        from deploy.outside_worker import work

        return work(job, os.environ["WEBHOOK_SECRET"], self._hear)

    def _hear(self, path: str, options: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
        found, about = self.model.transcribe(
            path,
            language=options.get("language"),
            initial_prompt=options.get("prompt"),
            word_timestamps=bool(options.get("words")),
            task="translate" if options.get("translate") else "transcribe",
            vad_filter=True,
        )
        return {"language": about.language, "duration": about.duration}, map(_told, found)


def _told(segment: Any) -> dict[str, Any]:
    words = [
        {"word": word.word.strip(), "start": word.start, "end": word.end, "probability": word.probability}
        for word in segment.words or ()
    ]
    return {"start": segment.start, "end": segment.end, "text": segment.text, "words": words}


@app.function()
@modal.asgi_app(requires_proxy_auth=True)
def submit() -> Any:
    """Takes jobs in and answers at once; Modal's queue has them from there."""
    from fastapi import FastAPI, HTTPException, Request
    from standardwebhooks import WebhookVerificationError

    from deploy.outside_worker import verified

    web = FastAPI()

    @web.post("/", status_code=202)
    async def take(request: Request) -> dict[str, str]:
        try:
            job = verified(await request.body(), dict(request.headers), os.environ["WEBHOOK_SECRET"])
        except WebhookVerificationError:
            raise HTTPException(401, "The signature is missing or wrong.") from None
        call = await Recogniser().run.spawn.aio(job)
        return {"call": call.object_id}

    return web
