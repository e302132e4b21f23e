"""Names of speakers, and an index for lists of a session's jobs by state."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("speakers", sa.Text))
    op.create_index("jobs_by_session_state", "jobs", ["session_id", "status", "id"])
