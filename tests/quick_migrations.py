"""New SQLite databases from the statements of the first one: all migrations take a twentieth of a second, and most
tests have their own database. Other databases are migrated as usual."""

import functools

from sqlalchemy import Connection, create_engine, inspect

from jobs import database

_migrate = database.migrate


def install() -> None:
    """Let this process create new databases so."""
    vars(database)["migrate"] = migrate


def migrate(connection: Connection) -> None:
    """Replacement for `jobs.database.migrate`."""
    if connection.dialect.name != "sqlite" or inspect(connection).get_table_names():
        _migrate(connection)
        return
    for statement in statements():
        connection.exec_driver_sql(statement)


@functools.cache
def statements() -> tuple[str, ...]:
    """Return those that create the tables of an empty database."""
    with create_engine("sqlite://").connect() as connection:
        _migrate(connection)
        made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    virtual = tuple(f"{name}_" for name, sql in made if sql.startswith("CREATE VIRTUAL"))  # they create further tables
    wanted = (sql for name, sql in made if not name.startswith(virtual or "\0"))
    return (*wanted, f"INSERT INTO alembic_version VALUES ('{version}')")  # noqa: S608  # of our own migrations
