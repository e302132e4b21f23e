"""Alembic's entry point, which runs migrations on the connection of `jobs.database.migrate`."""

from alembic import context

from jobs.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
# Without an Alembic transaction: the caller's transaction covers the whole upgrade.
context.run_migrations()
