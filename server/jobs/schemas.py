"""Responses of the job endpoints."""

from typing import Annotated

from pydantic import Field

from jobs.transitions import EVENTS
from server.openapi import ResponseModel, like, one_of

LATER = ("processing", "completed", "failed", "cancelled", "expired")
"""States of a job that is no longer waiting."""

ID = "01a1f8f227346d52396faac293c7e584"
SHORT: dict[str, object] = {"job_id": ID, "filename": "talk.mp3", "status": "queued"}
RESULT: dict[str, object] = {
    "text": "Good morning. What can I do for you?",
    "language": "en",
    "duration": 3.2,
    "engine": "whisper: small (int8)",
    "segments": [
        {
            "id": 0, "seek": 0, "start": 0.3, "end": 2.9, "text": "Good morning. What can I do for you?",
            "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 0.9, "no_speech_prob": 0.01,
            "language": "en",
            "words": [{"word": "Good", "start": 0.3, "end": 0.5, "probability": 0.98}], "speaker": "A",
        }
    ],
}  # fmt: skip
JOB: dict[str, object] = {
    "job_id": ID, "status": "completed", "progress": 100.0, "result": RESULT, "error": None, "filename": "talk.mp3",
    "model_id": None, "language": "en", "diarize": True, "speakers": {"A": "Anna"}, "session_id": None,
    "partial": None, "seconds_left": None,
    "source_url": None, "size": 51_200, "duration": 3.2, "attempts": 1, "created_at": "2026-11-20T17:30:00.000+00:00",
    "started_at": "2026-11-20T17:30:00.125+00:00", "finished_at": "2026-11-20T17:30:01.750+00:00",
    "tags": ["interviews"], "pinned": False,
}  # fmt: skip
LISTED = {**JOB, "result": None}
SKIPPED = {"filename": "talks.zip/cover.jpg", "reason": "a picture"}
DELIVERY: dict[str, object] = {
    "id": "msg_2f1c0d4f7a9b4c5d8e6f708192a3b4c5", "url": "https://example.org/hook", "event": "transcription.completed",
    "status": "delivered", "created_at": "2026-11-20T17:30:01.750+00:00", "next_attempt_at": None,
    "attempts": [{"at": "2026-11-20T17:30:01.900+00:00", "took_ms": 84, "http_status": 204, "error": None}],
}  # fmt: skip


class JobError(ResponseModel):
    """The reason why a job failed or waits for a retry."""

    code: str
    message: str


class TranscriptWord(ResponseModel):
    word: str
    start: float
    end: float
    probability: float


class TranscriptSegment(ResponseModel):
    """A segment with Whisper's keys; times in seconds."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    language: str | None = None
    """Language of this segment: a recording can have several."""
    words: list[TranscriptWord] = Field(default_factory=list)
    speaker: str | None = None
    paragraph: bool = False
    """Whether a user began a paragraph here."""


class Transcript(ResponseModel):
    """The result of a job."""

    model_config = like(RESULT)

    text: str
    language: str | None
    duration: float
    """Length of the recording in seconds."""
    engine: str
    """Engine and model that made the transcript."""
    segments: list[TranscriptSegment]
    version: int = 0
    """Number of the version, if the transcript was edited."""


class JobResponse(ResponseModel):
    """A job. `progress` in percent, `duration` in seconds, times in ISO 8601 (UTC)."""

    model_config = like(JOB)

    job_id: str
    status: Annotated[str, one_of("queued", "pending", *LATER)]
    """queued (pending below /api/v1), processing, completed, failed, cancelled, expired."""
    progress: float
    result: Transcript | None
    """Only in responses for a single job."""
    error: JobError | None
    filename: str
    model_id: str | None
    language: str | None
    diarize: bool
    speakers: dict[str, str]
    """Names given to the speakers, by letter."""
    session_id: str | None
    partial: str | None
    """The end of the text so far, while the job runs."""
    seconds_left: float | None
    """Estimated time until a running job has its result."""
    source_url: str | None
    size: int | None
    duration: float | None
    attempts: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    tags: list[str]
    pinned: bool
    """Whether it is kept regardless of JOB_KEEP_HOURS and DELETE_AUDIO_AFTER."""


class SkippedMember(ResponseModel):
    """A file in an archive that is clearly not a recording; it does not become a job."""

    filename: str
    """archive/member."""
    reason: str


class NewJob(ResponseModel):
    """The created job, or the one that was already created with this Idempotency-Key."""

    model_config = like(SHORT)

    job_id: str
    filename: str
    status: Annotated[str, one_of("queued", *LATER)]
    """queued; completed if the same recording was transcribed before with the same options."""


class NewJobs(ResponseModel):
    """One job for each file and each recording in a zip, in order."""

    model_config = like({"jobs": [SHORT]}, {"jobs": [SHORT], "skipped": [SKIPPED]})

    jobs: list[NewJob]
    skipped: list[SkippedMember] = Field(default_factory=list)
    """Only if files were skipped."""


class EchoJob(ResponseModel):
    """A job in short form."""

    model_config = like({"job_id": ID, "status": "pending"})

    job_id: str
    status: Annotated[str, one_of("pending", *LATER)]
    """pending, processing, completed, failed, cancelled, expired."""
    skipped: list[SkippedMember] = Field(default_factory=list)
    """Files in an archive that are not recordings; only if files were skipped."""


class JobPage(ResponseModel):
    """One page of a list of jobs, newest first."""

    model_config = like({"items": [LISTED], "next_cursor": None, "total": 1})

    items: list[JobResponse]
    next_cursor: str | None
    """Cursor of the next page; null on the last page."""
    total: int
    """Number of jobs in the whole list, ignoring `search`."""


class QueuesResponse(ResponseModel):
    """Number of jobs in each state."""

    model_config = like(
        {
            "queued": 0, "processing": 0, "completed": 1, "failed": 0, "cancelled": 0, "expired": 0, "total": 1,
            "jobs": [],
        }
    )  # fmt: skip

    queued: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    total: int
    jobs: list[JobResponse]
    """Running and queued jobs."""


class DeliveryAttempt(ResponseModel):
    at: str
    took_ms: int
    http_status: int | None
    error: str | None


class DeliveryResponse(ResponseModel):
    """A message to a webhook."""

    id: str
    """Value of the header `webhook-id`; the same for all attempts."""
    url: str
    event: Annotated[str, one_of(*EVENTS.values())]
    status: Annotated[str, one_of("pending", "delivered", "failed", "disabled")]
    """pending, delivered, failed (after the last retry), disabled (the webhook returned 410)."""
    created_at: str
    next_attempt_at: str | None
    attempts: list[DeliveryAttempt]


class DeliveriesResponse(ResponseModel):
    """Webhook deliveries of a job."""

    model_config = like({"deliveries": [DELIVERY]})

    deliveries: list[DeliveryResponse]
