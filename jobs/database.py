"""The connection to SQLite or PostgreSQL, its transactions, and the migrations that are run at the start."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Insert, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from pipeline.errors import ConfigError
from pipeline.private import opener, private_folder

BUSY_MS = 30_000
"""How long SQLite waits for another process's transaction."""
MIGRATION_LOCK = 0x7061726C6579
"""PostgreSQL's advisory lock (the letters of "parley"): several services may start at once."""
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}


def address(database_url: str) -> URL:
    """DATABASE_URL with the driver that is used here. Raises ConfigError."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigError("DATABASE_URL is no database address; see docs/jobs.md.") from None
    driver = DRIVERS.get(url.drivername.split("+")[0])
    if driver is None:
        raise ConfigError(f"DATABASE_URL: {url.drivername} is not supported; use sqlite or postgresql.")
    return url.set(drivername=driver)


class Database:
    """Transactions of one database; open it with `open_database`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer at a time. Waiting here is fair; its own waiting is a lottery.
        self._writing: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.is_sqlite else nullcontext()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes nothing."""
        async with self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed as a whole at the end of the block, or not at all."""
        async with self._writing, self._engine.connect() as plain:
            connection = await plain.execution_options(parley_write=True)
            async with connection.begin():
                yield connection

    def insert(self, table: Table) -> Any:
        """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`, which both databases spell alike."""
        statement: Insert = sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)
        return statement


@asynccontextmanager
async def open_database(database_url: str) -> AsyncIterator[Database]:
    """Connected and migrated. Raises ConfigError when it cannot be had."""
    url = address(database_url)
    engine = await _engine(url)
    try:
        try:
            async with Database(engine).writing() as connection:
                if url.get_backend_name() == "postgresql":
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                await connection.run_sync(migrate)
        except (DBAPIError, OSError) as error:
            shown = url.render_as_string(hide_password=True)
            raise ConfigError(f"The database {shown} cannot be used: {_reason(error)}. See DATABASE_URL.") from error
        yield Database(engine)
    finally:
        await engine.dispose()


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (str(cause) or type(cause).__name__).strip().splitlines()[0].rstrip(".")


async def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        try:
            return create_async_engine(url, pool_size=10, pool_timeout=30, pool_pre_ping=True)
        except ModuleNotFoundError:
            raise ConfigError("PostgreSQL needs the extra `postgres`: make install EXTRAS=postgres.") from None
    if url.database and not url.database.startswith((":memory:", "file:")):
        try:
            await asyncio.to_thread(private_folder, Path(url.database).parent)
            await asyncio.to_thread(_make, url.database)
        except OSError as error:
            raise ConfigError(
                f"The database or its folder cannot be made: {error.strerror}. See DATABASE_URL."
            ) from None
    engine = create_async_engine(url, pool_size=5, pool_timeout=30)

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        # The driver begins no transactions of its own: `begun` does, and says whether it will write.
        connection.isolation_level = None
        cursor = connection.cursor()
        # FULL: what was acknowledged survives a power cut, too.
        for pragma in (f"busy_timeout={BUSY_MS}", "synchronous=FULL", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        _into_wal(cursor)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later would fail when another wrote in between.
        write = connection.get_execution_options().get("parley_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _make(database: str) -> None:
    """An empty file is a new database to SQLite, and what it puts beside it (-wal, -shm) has the mode of the database.
    Raises OSError."""
    with contextlib.suppress(FileExistsError):
        open(database, "xb", opener=opener).close()


def _into_wal(cursor: Any) -> None:
    """Several services that make the same database at once are in each other's way, and for this SQLite does not wait
    by itself."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            await_only(asyncio.sleep(0.02))  # we are below SQLAlchemy, which is called from the loop


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, in the transaction of this connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
