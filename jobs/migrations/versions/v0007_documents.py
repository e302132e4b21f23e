"""Edited transcripts with their versions, outlines of recordings, voiceprints, and the text of running jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("partial", sa.Text))
    op.create_table(
        "documents",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("author", sa.String(80), nullable=False),
        sa.Column("operations", sa.Text, nullable=False),
        sa.Column("restored", sa.Integer),
        sa.Column("undo", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_table(
        "waveforms",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("track", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "voiceprints",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("consent_by", sa.String(80), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("vector", sa.Text, nullable=False),
    )
    op.create_index("voiceprints_by_owner", "voiceprints", ["owner", "name"], unique=True)
