"""Transcripts from before the search, which are still to be added to it: `jobs.transcript_library.backlog`."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "search_backlog",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("below", sa.String(32), nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
    )
    # "g" is after all ids, which are hexadecimal digits. Transcripts that are in the index already are skipped.
    op.execute(
        "INSERT INTO search_backlog (id, below, done, total) SELECT 1, 'g', 0, count(*) FROM jobs "
        "WHERE status = 'completed' HAVING count(*) > 0"
    )
