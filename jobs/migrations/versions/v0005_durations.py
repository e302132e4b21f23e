"""The recording's duration in its result, so that a job for a known recording has it at once."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("results", sa.Column("duration_s", sa.Double))
    op.execute(
        "UPDATE results SET duration_s = (SELECT max(jobs.duration_s) FROM jobs WHERE jobs.result_key = results.key)"
    )
