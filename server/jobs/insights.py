"""`/jobs/{id}/insights…`: what the language model writes about a transcript."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, Field, StringConstraints

from jobs.errors import NotPossible
from jobs.insights.prompts import MAX_PROMPT_CHARS, MAX_QUESTION_CHARS
from jobs.insights.rows import Insight
from jobs.insights.worker import InsightWorker
from jobs.insights.writing import Writer
from jobs.job import Job
from jobs.service import Jobs
from pipeline.assistant import Assistant
from pipeline.languages import language_code
from pipeline.settings import Settings
from pipeline.support.background import background
from server.access import require_key
from server.errors import BadField
from server.jobs.owners import OwnJob
from server.jobs.schemas import ID, JobError
from server.jobs.views import AllJobs, iso, time_of
from server.openapi import ResponseModel, like
from server.parameters import NullIsAbsent

router = APIRouter(prefix="/jobs/{job_id}/insights", tags=["insights"], dependencies=[Depends(require_key)])
INSIGHT: dict[str, object] = {
    "insight_id": ID, "kind": "summary", "status": "completed", "progress": 100.0, "language": None, "question": None,
    "text": "Two people plan a trip. [0:12] They leave on Friday.", "model": "ollama: llama3.2", "error": None,
    "created_at": "2026-11-20T17:31:00.000+00:00", "finished_at": "2026-11-20T17:31:09.000+00:00",
}  # fmt: skip


def _storable(text: str) -> str:
    return text.replace("\0", " ").strip()


class WantedInsight(NullIsAbsent):
    """An insight to write."""

    model_config = like({"kind": "answer", "question": "When do they leave?"})

    kind: Literal["title", "summary", "actions", "chapters", "translation", "answer"]
    language: Annotated[str, StringConstraints(max_length=60)] | None = Field(
        default=None, description="The language to write in; by default that of the transcript."
    )
    question: Annotated[str, StringConstraints(max_length=MAX_QUESTION_CHARS), AfterValidator(_storable)] | None = (
        Field(default=None, description="The question, for `answer`.")
    )
    prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS), AfterValidator(_storable)] | None = Field(
        default=None, description="Your instruction in place of the one in `GET /library`."
    )


class InsightResponse(ResponseModel):
    """A text that the language model writes about a transcript. Times in it are in brackets: [1:02:03]."""

    model_config = like(INSIGHT)

    insight_id: str
    kind: str
    status: str
    """queued (also while there is no language model), running, completed, failed."""
    progress: float
    """Percent of the transcript's parts that the model has read."""
    language: str | None
    question: str | None
    text: str | None
    model: str | None
    """The language model that wrote it."""
    error: JobError | None
    created_at: str
    finished_at: str | None


class InsightsResponse(ResponseModel):
    """The insights of a job, the oldest first."""

    model_config = like({"insights": [INSIGHT]})

    insights: list[InsightResponse]


@router.get("", summary="List insights")
async def all_of(job: OwnJob, jobs: AllJobs) -> InsightsResponse:
    """List what the language model has written about the transcript, and what it will write."""
    return InsightsResponse(insights=[_shown(one) for one in await jobs.insights.of_job(job.id)])


@router.post("", summary="Write an insight", status_code=202)
async def write(job: OwnJob, wanted: WantedInsight, jobs: AllJobs) -> InsightResponse:
    """Queue an insight; the language model writes it when it has time, also after a restart."""
    if job.result_key is None:
        raise NotPossible(f"The job does not have a transcript; it is {job.status.value}.", code="no_result")
    language = language_code(wanted.language)
    if wanted.kind == "translation" and language is None:
        raise BadField("language", "A translation needs a language.")
    if wanted.kind == "answer" and not wanted.question:
        raise BadField("question", "An answer needs a question.")
    made = await jobs.insights.create(
        job.id, wanted.kind, prompt=wanted.prompt or "", language=language,
        question=wanted.question if wanted.kind == "answer" else None,
    )  # fmt: skip
    jobs.insights_due.tell()
    return _shown(made)


@router.delete("/{insight_id}", summary="Delete an insight", status_code=204)
async def remove(job: OwnJob, insight_id: str, jobs: AllJobs) -> None:
    """Delete an insight in any state."""
    await jobs.insights.remove(job.id, insight_id)


def _shown(one: Insight) -> InsightResponse:
    return InsightResponse(
        insight_id=one.id,
        kind=one.kind,
        status=one.status,
        progress=round(100 * one.done, 1),
        language=one.language,
        question=one.question,
        text=one.text,
        model=one.model,
        error=JobError(code=one.error_code, message=one.error_message or "") if one.error_code else None,
        created_at=iso(one.created_at),
        finished_at=time_of(one.finished_at),
    )


def written(settings: Settings, assistant: Assistant, jobs: Jobs) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """Write insights with this deployment's language model while the block runs."""

    async def transcript(job_id: str) -> tuple[Job, str]:
        job = await jobs.get(job_id)
        return job, await jobs.body(job)

    def model() -> str:
        info = next((one for one in assistant.engines if one.stage == "llm"), None)
        return f"{info.engine}: {info.model}" if info is not None else ""

    writer = Writer(
        assistant.model_reply,
        context_tokens=settings.history_tokens,
        reply_tokens=settings.llm_max_tokens,
        prompts=jobs.insight_prompts,
    )
    worker = InsightWorker(
        jobs.insights,
        writer,
        has_model=assistant.has_model,
        model=model,
        transcript=transcript,
        added=jobs.insights_due,
    )
    return background(worker.run())
