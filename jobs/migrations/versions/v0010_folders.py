"""Files of watched folders that have a job, and jobs that wait behind those of users: `jobs.folders`."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("background", sa.Integer, nullable=False, server_default="0"))
    waits = sa.text("background = 1")
    op.create_index("jobs_in_background", "jobs", ["status", "id"], sqlite_where=waits, postgresql_where=waits)
    op.create_table(
        "watched_files",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("told", sa.String(16), nullable=False),
        sa.Column("outputs", sa.Text, nullable=False),
        sa.Column("begun_at", sa.Double, nullable=False),
    )
    op.create_index("watched_files_by_job", "watched_files", ["job_id"])
    op.create_index("watched_files_by_state", "watched_files", ["told"])
