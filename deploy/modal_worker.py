"""Parley's jobs on Modal's GPUs: `modal deploy -m deploy.modal_worker` (needs the package `modal`; docs/jobs.md).

Needs a Modal secret `parley` with WEBHOOK_SECRET (the same as the service's) and, optionally, WHISPER_MODEL, HF_TOKEN
(for pyannote) and other settings of the recognisers. Set MODAL_WEBHOOK_URL to the URL that it prints, and
MODAL_TOKEN_ID and MODAL_TOKEN_SECRET to a proxy token of the workspace.
"""

import os
from pathlib import Path
from typing import Any

import modal

MODELS = "/models"
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
IMAGE = (
    modal.Image.from_registry("nvidia/cuda:12.9.1-cudnn-runtime-ubuntu22.04", add_python="3.11")
    .pip_install_from_pyproject(str(PYPROJECT), optional_dependencies=["align", "speakers"])
    .pip_install("resemblyzer==0.1.4", extra_options="--no-deps")  # as deploy/install.sh does
    .env({"WHISPER_MODEL": "large-v3", "WHISPER_DEVICE": "cuda", "MODELS_DIR": MODELS, "MODEL_HOST": "thread"})
    .add_local_python_source("deploy", "jobs", "pipeline")
)
SECRET = modal.Secret.from_name("parley", required_keys=["WEBHOOK_SECRET"])
VOLUME = modal.Volume.from_name("parley-models", create_if_missing=True)

app = modal.App("parley", image=IMAGE, secrets=[SECRET])


@app.cls(gpu="L4", timeout=4 * 3600, volumes={MODELS: VOLUME}, scaledown_window=120)
class Recogniser:
    """One GPU with Whisper loaded; Modal starts as many as there are jobs."""

    @modal.enter()
    async def load(self) -> None:
        from deploy.remote_recogniser import open_recogniser
        from pipeline.settings import Settings
        from pipeline.support.context_holder import ContextHolder

        self.keeper = ContextHolder(open_recogniser(Settings()))
        self.transcribe = await self.keeper.open()
        await VOLUME.commit.aio()

    @modal.method()
    async def run(self, job: dict[str, Any]) -> str:
        from deploy.remote_worker import work

        return await work(job, os.environ["WEBHOOK_SECRET"], self.transcribe)

    @modal.exit()
    async def unload(self) -> None:
        await VOLUME.commit.aio()  # models loaded for jobs
        await self.keeper.close()


@app.function()
@modal.asgi_app(requires_proxy_auth=True)
def submit() -> Any:
    """Accept jobs and respond at once; Modal's queue then holds them."""
    from fastapi import FastAPI, HTTPException, Request
    from standardwebhooks import WebhookVerificationError

    from deploy.remote_worker import verified

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
