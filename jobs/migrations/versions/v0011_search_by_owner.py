"""PostgreSQL's search: an index of each owner's passages by age, and a full-text index that is always up to date."""

from alembic import op

revision = "0011"
down_revision = "0010"

# fastupdate: without it, each search reads up to 4 MB of new entries one by one, until the next VACUUM.
_POSTGRESQL = (
    "CREATE INDEX passages_words_by_owner ON passages (split_part(tokens, ' ', 1), id)",
    "ALTER INDEX passages_words SET (fastupdate = off)",
    "SELECT gin_clean_pending_list('passages_words')",
    "ANALYZE passages",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for statement in _POSTGRESQL:
            op.execute(statement)
