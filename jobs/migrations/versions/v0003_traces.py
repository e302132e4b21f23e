"""The trace of the request that sent a job, which the job and its webhooks continue."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace", sa.String(64)))
