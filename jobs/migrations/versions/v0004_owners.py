"""Owners of jobs, and counts per owner. Earlier jobs have no owner: only the admin permission shows them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner", sa.String(80), nullable=False, server_default=""))
    op.create_index("jobs_by_owner", "jobs", ["owner", "id"])
    op.create_index("jobs_by_owner_state", "jobs", ["owner", "status", "id"])
    op.create_table(
        "owner_tallies",
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("status", sa.String(16), primary_key=True),
        sa.Column("jobs", sa.Integer, nullable=False),
    )
