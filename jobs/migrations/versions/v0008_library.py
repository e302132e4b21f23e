"""The library: full-text search over transcripts, tags, pins, and the language model's insights.

Existing transcripts are added to the search after the start (v0009): that can take minutes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# The index refers to the column `tokens`. prefix: makes the search for beginnings of words fast.
_SQLITE = (
    "CREATE VIRTUAL TABLE passages_words USING fts5(tokens, content='passages', content_rowid='id', prefix='2 3')",
    "CREATE TRIGGER passages_added AFTER INSERT ON passages BEGIN "
    "INSERT INTO passages_words(rowid, tokens) VALUES (new.id, new.tokens); END",
    "CREATE TRIGGER passages_removed AFTER DELETE ON passages BEGIN "
    "INSERT INTO passages_words(passages_words, rowid, tokens) VALUES ('delete', old.id, old.tokens); END",
)
_POSTGRESQL = (
    "ALTER TABLE passages ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('simple', tokens)) STORED",
    "CREATE INDEX passages_words ON passages USING gin (words)",
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("tags", sa.Text, nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("pinned_at", sa.Double))
    tagged, pinned = sa.text("tags <> ''"), sa.text("pinned_at IS NOT NULL")
    op.create_index("jobs_tagged", "jobs", ["owner", "id"], sqlite_where=tagged, postgresql_where=tagged)
    op.create_index("jobs_pinned", "jobs", ["owner", "id"], sqlite_where=pinned, postgresql_where=pinned)
    op.create_table(
        "passages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("starts", sa.Text, nullable=False),
        sa.Column("tokens", sa.Text, nullable=False),
    )
    op.create_index("passages_by_job", "passages", ["job_id"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
    op.create_table(
        "insights",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("language", sa.String(16)),
        sa.Column("question", sa.Text),
        sa.Column("done", sa.Double, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("lease", sa.String(32)),
        sa.Column("heartbeat_at", sa.Double),
    )
    op.create_index("insights_by_due", "insights", ["status", "due_at"])
    op.create_index("insights_by_job", "insights", ["job_id", "id"])
