"""What the doors for jobs answer, as the OpenAPI document has it. `server.job_views` makes these answers: a transcript
of hours is not put through a model for each request; `tests/jobs/test_answers.py` holds the two together."""

from typing import Any

from pydantic import Field

from server.documents import Answer, like

ID = "01a1f8f227346d52396faac293c7e584"
SHORT: dict[str, Any] = {"job_id": ID, "filename": "talk.mp3", "status": "queued"}
RESULT: dict[str, Any] = {
    "text": "Good morning. What can I do for you?",
    "language": "en",
    "duration": 3.2,
    "engine": "whisper: small (int8)",
    "segments": [
        {
            "id": 0, "seek": 0, "start": 0.3, "end": 2.9, "text": "Good morning. What can I do for you?",
            "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 0.9, "no_speech_prob": 0.01,
            "words": [{"word": "Good", "start": 0.3, "end": 0.5, "probability": 0.98}], "speaker": "A",
        }
    ],
}  # fmt: skip
JOB: dict[str, Any] = {
    "job_id": ID, "status": "completed", "progress": 100.0, "result": RESULT, "error": None, "filename": "talk.mp3",
    "model_id": None, "language": "en", "diarize": True, "speakers": {"A": "Anna"}, "session_id": None,
    "source_url": None, "size": 51_200, "duration": 3.2, "attempts": 1, "created_at": "2026-11-20T17:30:00.000+00:00",
    "started_at": "2026-11-20T17:30:00.125+00:00", "finished_at": "2026-11-20T17:30:01.750+00:00",
}  # fmt: skip
LISTED = {**JOB, "result": None}
SKIPPED = {"filename": "talks.zip/cover.jpg", "reason": "a picture"}
DELIVERY: dict[str, Any] = {
    "id": "msg_2f1c0d4f7a9b4c5d8e6f708192a3b4c5", "url": "https://example.org/hook", "event": "transcription.completed",
    "status": "delivered", "created_at": "2026-11-20T17:30:01.750+00:00", "next_attempt_at": None,
    "attempts": [{"at": "2026-11-20T17:30:01.900+00:00", "took_ms": 84, "http_status": 204, "error": None}],
}  # fmt: skip


class JobError(Answer):
    """Why it failed, or waits for another attempt."""

    code: str
    message: str


class TranscriptWord(Answer):
    word: str
    start: float
    end: float
    probability: float


class TranscriptSegment(Answer):
    """With Whisper's keys; times in seconds."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[TranscriptWord] = Field(default_factory=list)
    speaker: str | None = None


class Transcript(Answer):
    """The result of a job."""

    model_config = like(RESULT)

    text: str
    language: str | None
    duration: float
    """Seconds."""
    engine: str
    """What heard it."""
    segments: list[TranscriptSegment]


class JobAnswer(Answer):
    """A job. `progress` in percent, `duration` in seconds, times in ISO 8601 (UTC)."""

    model_config = like(JOB)

    job_id: str
    status: str
    """queued (pending below /api/v1), processing, completed, failed, cancelled, expired."""
    progress: float
    result: Transcript | None
    """Only where one job is asked for."""
    error: JobError | None
    filename: str
    model_id: str | None
    language: str | None
    diarize: bool
    speakers: dict[str, str]
    """What people call the speakers."""
    session_id: str | None
    source_url: str | None
    size: int | None
    duration: float | None
    attempts: int
    created_at: str
    started_at: str | None
    finished_at: str | None


class SkippedMember(Answer):
    """Something in an archive that is plainly no recording, and is no job."""

    filename: str
    """The archive's name, and the name in it."""
    reason: str


class NewJob(Answer):
    """A job that was made, or one that was made with this Idempotency-Key before."""

    job_id: str
    filename: str
    status: str
    """queued; completed where the same was transcribed before."""


class NewJobs(Answer):
    """One for each file and each recording in a zip, in order."""

    model_config = like({"jobs": [SHORT]}, {"jobs": [SHORT], "skipped": [SKIPPED]})

    jobs: list[NewJob]
    skipped: list[SkippedMember] = Field(default_factory=list)
    """Only where something was."""


class EchoJob(Answer):
    """A job, in few words."""

    model_config = like({"job_id": ID, "status": "pending"})

    job_id: str
    status: str
    """pending, processing, completed, failed, cancelled, expired."""
    skipped: list[SkippedMember] = Field(default_factory=list)
    """Of an archive; only where something was."""


class JobPage(Answer):
    """A part of a list, the newest first."""

    model_config = like({"items": [LISTED], "next_cursor": None, "total": 1})

    items: list[JobAnswer]
    next_cursor: str | None
    """Where the part after it begins; null: there is none."""
    total: int
    """Jobs in the whole list, whatever is searched for."""


class QueuesAnswer(Answer):
    """Jobs by state."""

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
    jobs: list[JobAnswer]
    """Those that are worked on or wait."""


class DeliveryAttempt(Answer):
    at: str
    took_ms: int
    http_status: int | None
    error: str | None


class DeliveryAnswer(Answer):
    """One message to one webhook."""

    id: str
    """The same over all attempts: `webhook-id`."""
    url: str
    event: str
    status: str
    """pending, delivered, failed (given up), disabled (the address answered 410)."""
    created_at: str
    next_attempt_at: str | None
    attempts: list[DeliveryAttempt]


class DeliveriesAnswer(Answer):
    """What webhooks were told of a job."""

    model_config = like({"deliveries": [DELIVERY]})

    deliveries: list[DeliveryAnswer]
