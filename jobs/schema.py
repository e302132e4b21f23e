"""The tables, and the IDs of their rows. Times are seconds since 1970 (UTC), in double precision.

`jobs/migrations` creates the tables; a test compares them with this file.
"""

import secrets
import time

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text, text

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
    Column("partial", Text),
    Column("tags", Text, nullable=False, server_default=""),
    Column("pinned_at", Double),
    Column("background", Integer, nullable=False, server_default="0"),
    Index("jobs_by_status", "status", "id"),
    Index("jobs_by_owner", "owner", "id"),
    Index("jobs_by_owner_state", "owner", "status", "id"),
    Index("jobs_by_session", "session_id", "id"),
    Index("jobs_by_session_state", "session_id", "status", "id"),
    Index("jobs_by_end", "status", "finished_at"),
    Index("jobs_by_file", "sha256"),
    Index("jobs_by_result", "result_key"),
    Index("jobs_tagged", "owner", "id", sqlite_where=text("tags <> ''"), postgresql_where=text("tags <> ''")),
    Index(
        "jobs_pinned", "owner", "id",
        sqlite_where=text("pinned_at IS NOT NULL"), postgresql_where=text("pinned_at IS NOT NULL"),
    ),
    Index(
        "jobs_in_background", "status", "id",
        sqlite_where=text("background = 1"), postgresql_where=text("background = 1"),
    ),
)  # fmt: skip

tallies = Table(
    "tallies", metadata, Column("status", String(16), primary_key=True), Column("jobs", Integer, nullable=False)
)
"""Number of jobs in each state, updated in the transactions that change it: counting a million rows takes too long."""

owner_tallies = Table(
    "owner_tallies",
    metadata,
    Column("owner", String(80), primary_key=True),
    Column("status", String(16), primary_key=True),
    Column("jobs", Integer, nullable=False),
)
"""Number of jobs in each state per caller with a key. A separate table, because an older version of the service, which
may still run during an upgrade, relies on the structure of `tallies`."""

results = Table(
    "results",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("duration_s", Double),
    Column("used_at", Double, nullable=False),
    Index("results_by_use", "used_at"),
)

documents = Table(
    "documents",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)
"""The current versions of edited transcripts. The originals stay in `results`, which other jobs can share."""

versions = Table(
    "versions",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created_at", Double, nullable=False),
    Column("author", String(80), nullable=False),
    Column("operations", Text, nullable=False),
    Column("restored", Integer),
    Column("undo", Text, nullable=False),
    Column("size", Integer, nullable=False),
)
"""The changes that made each version of an edited transcript; `undo` leads to the version before."""

waveforms = Table(
    "waveforms",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("track", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)
"""Outlines of recordings for players, which take as long to make as decoding the recording. track: -1 for the one that
a player would choose."""

voiceprints = Table(
    "voiceprints",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("name", String(100), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("consent_by", String(80), nullable=False),
    Column("seconds", Double, nullable=False),
    Column("vector", Text, nullable=False),
    Index("voiceprints_by_owner", "owner", "name", unique=True),
)
"""Voices that people allowed to be recognised in later recordings of the same owner."""

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

passages = Table(
    "passages",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("job_id", String(32), nullable=False),
    Column("text", Text, nullable=False),
    Column("starts", Text, nullable=False),
    Column("tokens", Text, nullable=False),
    Index("passages_by_job", "job_id"),
)
"""Transcripts for search: `jobs.transcript_library.passages`. The full-text index itself is made by the migration."""

FULL_TEXT = "passages_words"
"""Prefix of what migrations make in addition: SQLite's FTS5 table, or PostgreSQL's indexes of words and of owners."""

search_backlog = Table(
    "search_backlog",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("below", String(32), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
)
"""One row while transcripts from before the search are added to it: `jobs.transcript_library.backlog`."""

watched_files = Table(
    "watched_files",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("folder", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("job_id", String(32), nullable=False),
    Column("told", String(16), nullable=False),
    Column("outputs", Text, nullable=False),
    Column("begun_at", Double, nullable=False),
    Index("watched_files_by_job", "job_id"),
    Index("watched_files_by_state", "told"),
)
"""Files of watched folders that have a job, so that each is transcribed once: `jobs.folders.rows`. begun_at: also the
time before which no results are written."""

insights = Table(
    "insights",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job_id", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("language", String(16)),
    Column("question", Text),
    Column("done", Double, nullable=False),
    Column("text", Text),
    Column("model", Text),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("lease", String(32)),
    Column("heartbeat_at", Double),
    Index("insights_by_due", "status", "due_at"),
    Index("insights_by_job", "job_id", "id"),
)
"""Texts that the language model writes about transcripts: `jobs.insights`."""

silenced = Table("silenced", metadata, Column("url", Text, primary_key=True), Column("since", Double, nullable=False))
"""Webhook URLs that returned 410 and get no more deliveries."""


def new_id() -> str:
    """Return 32 hexadecimal digits that sort by time of creation (ms), and within this process by order of creation."""
    global _last
    now = time.time_ns() // 1_000_000 << 80
    _last = max(now | secrets.randbits(79), _last + 1)
    return f"{_last:032x}"


_last = 0
