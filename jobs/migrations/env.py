"""Alembic's entry: migrations are run at the start, on the connection of `jobs.database.migrate`."""

from alembic import context

from jobs.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
# No transaction of Alembic's own: the caller's covers the whole upgrade.
context.run_migrations()
