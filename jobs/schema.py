"""The tables, and a job as it is read from them. Times are seconds since 1970 (UTC), in double precision.

The tables are made by `jobs/migrations`; a test holds that against this file.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, RowMapping, String, Table, Text

from jobs.states import FINAL, Status
from pipeline.refining import Refining
from pipeline.stt import FileRequest

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("due_at", Double, nullable=False),
    Column("filename", Text, nullable=False),
    Column("sha256", String(64)),
    Column("size_bytes", BigInteger),
    Column("source_url", Text),
    Column("options", Text, nullable=False),
    Column("owner", String(80), nullable=False, server_default=""),
    Column("session_id", String(200)),
    Column("webhook_url", Text),
    Column("speakers", Text),
    Column("trace", String(64)),
    Column("progress", Double, nullable=False),
    Column("done_s", Double, nullable=False),
    Column("duration_s", Double),
    Column("attempts", Integer, nullable=False),
    Column("interruptions", Integer, nullable=False),
    Column("lease", String(32)),
    Column("heartbeat_at", Double),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("result_key", String(64)),
    Index("jobs_by_status", "status", "id"),
    Index("jobs_by_owner", "owner", "id"),
    Index("jobs_by_owner_state", "owner", "status", "id"),
    Index("jobs_by_session", "session_id", "id"),
    Index("jobs_by_session_state", "session_id", "status", "id"),
    Index("jobs_by_end", "status", "finished_at"),
    Index("jobs_by_file", "sha256"),
    Index("jobs_by_result", "result_key"),
)

tallies = Table(
    "tallies", metadata, Column("status", String(16), primary_key=True), Column("jobs", Integer, nullable=False)
)
"""How many jobs are in each state, kept in the transactions that change it: counting a million rows takes too long."""

owner_tallies = Table(
    "owner_tallies",
    metadata,
    Column("owner", String(80), primary_key=True),
    Column("status", String(16), primary_key=True),
    Column("jobs", Integer, nullable=False),
)
"""The same for each caller who has a key. A table of its own: a service of an older version, which may run beside this
one while it is upgraded, knows `tallies` as they are."""

results = Table(
    "results",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("duration_s", Double),
    Column("used_at", Double, nullable=False),
    Index("results_by_use", "used_at"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("job_ids", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("idempotency_by_age", "created_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("job_id", String(32), nullable=False),
    Column("url", Text, nullable=False),
    Column("event", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("since", Double, nullable=False),
    Column("owner", String(80), nullable=False, server_default=""),
    Column("host", String(255), nullable=False, server_default=""),
    Index("deliveries_by_due", "status", "due_at"),
    Index("deliveries_by_job", "job_id", "id"),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("delivery_id", String(40), nullable=False),
    Column("at", Double, nullable=False),
    Column("took_ms", Integer, nullable=False),
    Column("http_status", Integer),
    Column("error", Text),
    Index("attempts_by_delivery", "delivery_id", "id"),
)

silenced = Table("silenced", metadata, Column("url", Text, primary_key=True), Column("since", Double, nullable=False))
"""Webhook addresses that answered 410: they want nothing any more."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of a recording. With the file's content and the engine, this decides the result."""

    model_id: str | None = None
    """A model as `pipeline.stt.recognisers` knows it; None: what is loaded."""
    language: str | None = None
    """ISO 639-1; None: found out from the first speech."""
    prompt: str | None = None
    words: bool = True
    """With the times of words."""
    translate: bool = False
    align: bool = False
    """Times of words by forced alignment, where a model for the language can be had."""
    diarize: bool = False
    """Who said what."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    audio_track: int | None = None
    """Of a video, from 0; None: the one that a player would take."""

    def dumps(self) -> str:
        """Always the same text for the same options."""
        told = asdict(self)
        # As before there was such an option: results that are kept are found by this text.
        if self.audio_track is None:
            del told["audio_track"]
        return json.dumps(told, sort_keys=True)

    @staticmethod
    def loads(text: str) -> "Options":
        """What `dumps` wrote, also by another version: fields that are not known any more are left out."""
        return Options.of(json.loads(text))

    @staticmethod
    def of(told: Mapping[str, Any]) -> "Options":
        """From names and values; names that are not known are left out."""
        known = {field.name for field in fields(Options)}
        return Options(**{name: value for name, value in told.items() if name in known})

    def request(self) -> FileRequest:
        """For the recogniser."""
        # Who said what is told word by word: a change of speakers may be in the middle of a segment.
        return FileRequest(self.language, self.prompt, self.words or self.diarize, self.translate)

    def refining(self) -> Refining | None:
        """For what comes after the recogniser; None: nothing does."""
        if not self.align and not self.diarize:
            return None
        return Refining(self.align, self.diarize, self.min_speakers, self.max_speakers)


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to be: a stored file (`sha256`, `size_bytes`), or an address to fetch one from (`source_url`)."""

    filename: str
    options: Options
    sha256: str | None = None
    size_bytes: int | None = None
    source_url: str | None = None
    session_id: str | None = None
    webhook_url: str | None = None
    owner: str = ""
    """Who sent it, as `Job.owner`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`."""

    id: str
    status: Status
    version: int
    """Grows with every change."""
    created_at: float
    updated_at: float
    started_at: float | None
    """Of the last attempt."""
    finished_at: float | None
    due_at: float
    """A queued job is not begun before."""
    filename: str
    sha256: str | None
    size_bytes: int | None
    source_url: str | None
    options: Options
    owner: str
    """Who sent it: the kind and the name of a key ("key:anna"); "" for who had none. Others do not see it, but those
    with the right admin."""
    session_id: str | None
    webhook_url: str | None
    speakers: Mapping[str, str]
    """What people call the speakers of the result, by the names that it has for them ("A")."""
    trace: str | None
    """The `traceparent` of the request that it was sent with, where requests are traced."""
    progress: float
    """0 to 1, by decoded seconds."""
    done_s: float
    duration_s: float | None
    """Of the recording; None until it is known."""
    attempts: int
    """That ended with an error or are running."""
    interruptions: int
    """How often its worker went away in the middle: no fault of the job's."""
    lease: str | None
    """Who works on it: nobody else may change it but by cancelling."""
    heartbeat_at: float | None
    error_code: str | None
    error_message: str | None
    result_key: str | None

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in FINAL

    @staticmethod
    def of(row: RowMapping) -> "Job":
        """From a row of all columns."""
        values: dict[str, Any] = dict(row)
        values["status"] = Status(values["status"])
        values["options"] = Options.loads(values["options"])
        values["speakers"] = json.loads(values["speakers"] or "{}")
        return Job(**values)


def new_id() -> str:
    """32 hexadecimal digits that sort by the time they were made (ms), in this process also within one."""
    global _last
    now = time.time_ns() // 1_000_000 << 80
    _last = max(now | secrets.randbits(79), _last + 1)
    return f"{_last:032x}"


_last = 0
