"""Jobs, results, idempotency keys and webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("source_url", sa.Text),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("session_id", sa.String(200)),
        sa.Column("webhook_url", sa.Text),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("done_s", sa.Double, nullable=False),
        sa.Column("duration_s", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("interruptions", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("heartbeat_at", sa.Double),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text),
        sa.Column("result_key", sa.String(64)),
    )
    op.create_index("jobs_by_status", "jobs", ["status", "id"])
    op.create_index("jobs_by_session", "jobs", ["session_id", "id"])
    op.create_index("jobs_by_end", "jobs", ["status", "finished_at"])
    op.create_index("jobs_by_file", "jobs", ["sha256"])
    op.create_index("jobs_by_result", "jobs", ["result_key"])
    op.create_table(
        "tallies",
        sa.Column("status", sa.String(16), primary_key=True),
        sa.Column("jobs", sa.Integer, nullable=False),
    )
    op.create_table(
        "results",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
    )
    op.create_index("results_by_use", "results", ["used_at"])
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_ids", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("idempotency_by_age", "idempotency", ["created_at"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
    )
    op.create_index("deliveries_by_due", "deliveries", ["status", "due_at"])
    op.create_index("deliveries_by_job", "deliveries", ["job_id", "id"])
    op.create_table(
        "delivery_attempts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("delivery_id", sa.String(40), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("took_ms", sa.Integer, nullable=False),
        sa.Column("http_status", sa.Integer),
        sa.Column("error", sa.Text),
    )
    op.create_index("attempts_by_delivery", "delivery_attempts", ["delivery_id", "id"])
    op.create_table(
        "silenced",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("since", sa.Double, nullable=False),
    )
