"""Owner and host of deliveries, for limits on simultaneous deliveries per owner and per host."""

import sqlalchemy as sa
from alembic import op

from jobs.addresses import counted_host

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("owner", sa.String(80), nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("host", sa.String(255), nullable=False, server_default=""))
    op.execute(
        "UPDATE deliveries SET owner = (SELECT jobs.owner FROM jobs WHERE jobs.id = deliveries.job_id) "
        "WHERE EXISTS (SELECT 1 FROM jobs WHERE jobs.id = deliveries.job_id AND jobs.webhook_url = deliveries.url)"
    )
    urls = op.get_bind().scalars(sa.text("SELECT DISTINCT url FROM deliveries WHERE status = 'pending'")).all()
    for url in urls:
        statement = sa.text("UPDATE deliveries SET host = :host WHERE url = :url")
        op.get_bind().execute(statement, {"host": counted_host(url), "url": url})
