"""A job, its options, and its submission. Times are seconds since 1970 (UTC)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import RowMapping

from jobs.states import FINAL, Status
from pipeline.stt import FileRequest
from pipeline.transcripts.refine import Refining
from pipeline.transcripts.transcriber import TranscriptionRequest


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a transcription. They determine the result, together with the file's content and the engine."""

    model_id: str | None = None
    """A model ID of `pipeline.stt.recognisers`; None: the loaded model."""
    language: str | None = None
    """ISO 639-1; None: detected from the first speech."""
    prompt: str | None = None
    words: bool = True
    """Whether to include the times of words."""
    translate: bool = False
    align: bool = False
    """Whether to get word times by forced alignment, if a model for the language is available."""
    diarize: bool = False
    """Whether to identify the speakers."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    audio_track: int | None = None
    """Audio track of a video, from 0; None: the one that a player would choose."""
    keywords: tuple[str, ...] = ()
    """Names and words that may be spoken, the most important first."""
    languages: tuple[str, ...] = ()
    """Languages (ISO 639-1) that can be detected if `language` is None; empty: all."""

    def dumps(self) -> str:
        """Return a text that is identical for identical options."""
        told = asdict(self)
        # Keep the text that existed before these options: the keys of stored results depend on it.
        for name in ("audio_track", "keywords", "languages"):
            if told[name] in (None, ()):
                del told[name]
        return json.dumps(told, sort_keys=True)

    @staticmethod
    def loads(text: str) -> "Options":
        """Parse the text of `dumps`, also from another version: unknown fields are ignored."""
        return Options.of(json.loads(text))

    @staticmethod
    def of(told: Mapping[str, Any]) -> "Options":
        """Create options from names and values; unknown names are ignored."""
        known = {field.name for field in fields(Options)}
        values = {name: value for name, value in told.items() if name in known}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Options(**{**values, **lists})

    def request(self) -> TranscriptionRequest:
        """Return the request for the transcriber."""
        # Speakers are assigned to words, because they can change in the middle of a segment.
        recognition = FileRequest(
            self.language, self.prompt, self.words or self.diarize, self.translate, keywords=self.keywords,
            languages=self.languages,
        )  # fmt: skip
        refining = Refining(self.align, self.diarize, self.min_speakers, self.max_speakers)
        return TranscriptionRequest(recognition, refining, self.model_id, track=self.audio_track)


@dataclass(frozen=True, slots=True)
class Submission:
    """A new job: a stored file (`sha256`, `size_bytes`), or a URL to download one from (`source_url`)."""

    filename: str
    options: Options
    sha256: str | None = None
    size_bytes: int | None = None
    source_url: str | None = None
    session_id: str | None = None
    webhook_url: str | None = None
    owner: str = ""
    """The sender, as in `Job.owner`."""
    background: bool = False
    """As in `Job.background`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table `jobs`."""

    id: str
    status: Status
    version: int
    """Incremented by every change."""
    created_at: float
    updated_at: float
    started_at: float | None
    """Start of the last attempt."""
    finished_at: float | None
    due_at: float
    """Time before which a queued job is not begun."""
    filename: str
    sha256: str | None
    size_bytes: int | None
    source_url: str | None
    options: Options
    owner: str
    """The sender: the kind and the name of a key ("key:anna"); "" without a key. Other callers need the admin
    permission to see the job."""
    session_id: str | None
    webhook_url: str | None
    speakers: Mapping[str, str]
    """Names that users gave the speakers, by the speakers' labels in the result ("A")."""
    trace: str | None
    """The `traceparent` of the request that sent the job, if requests are traced."""
    progress: float
    """Progress from 0 to 1, by decoded seconds."""
    done_s: float
    duration_s: float | None
    """Duration of the recording; None until it is known."""
    attempts: int
    """Number of attempts that failed or are running."""
    interruptions: int
    """Number of attempts whose job worker disappeared, which is not the job's fault."""
    lease: str | None
    """Identifies the current attempt. Only its holder may change the job; others may only cancel it."""
    heartbeat_at: float | None
    error_code: str | None
    error_message: str | None
    result_key: str | None
    partial: str | None
    """The end of the text so far, while the job runs."""
    tags: tuple[str, ...] = ()
    pinned_at: float | None = None
    """Time at which a user pinned it; a pinned job is not removed automatically."""
    background: bool = False
    """Whether no user waits for it: it never runs in the place of another job."""

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.status in FINAL

    @property
    def stem(self) -> str:
        """Name of the file without its extension."""
        return self.filename.rpartition(".")[0] or self.filename

    @staticmethod
    def of(row: RowMapping) -> "Job":
        """Create a job from a row with all columns."""
        values: dict[str, Any] = dict(row)
        values["status"] = Status(values["status"])
        values["options"] = Options.loads(values["options"])
        values["speakers"] = json.loads(values["speakers"] or "{}")
        values["tags"] = tuple(json.loads(values["tags"] or "[]"))
        values["background"] = bool(values["background"])
        return Job(**values)
