"""The trace that a job was sent in, which its work and its webhooks go on with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace", sa.String(64)))
