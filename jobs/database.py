"""The connection to SQLite or PostgreSQL, its transactions, and the migrations at the start."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InvalidatePoolError,
    InvalidRequestError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only

from jobs import sqlite_file
from jobs.sqlite_file import SqliteFile
from pipeline.errors import ConfigError, StorageError, StorageFailed
from pipeline.support.installing import how_to_install
from pipeline.support.private_files import opener, private_folder
from pipeline.support.storage_errors import storage_full

log = logging.getLogger(__name__)

SETTING = "DATABASE_URL"
BUSY_MS = 30_000
"""Timeout for another process's transaction in SQLite, in milliseconds."""
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NOT_FILES = (":memory:", "file:")
"""Prefixes of SQLite databases that are not a file, or whose URL says how to open them."""
MIGRATION_LOCK = 0x7061726C6579
"""PostgreSQL's advisory lock (the letters of "parley"): several services may start at once."""
CONNECT_S = 10
"""Timeout for connecting to PostgreSQL, in seconds."""
UNANSWERED_MS = 30_000
"""Milliseconds without an acknowledgement after which a server counts as gone."""
LOOK_S = 1.0
"""Minimum interval of database checks in seconds, however many callers request them."""
CHECK_S = 5.0
"""Timeout for a database check, in seconds."""
DISK_FULL = "53100"
"""PostgreSQL's error code for a full disk."""
AGAIN_S = 60.0
"""Minimum interval between log entries about the same failure, in seconds."""
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}


def address(database_url: str) -> URL:
    """Return DATABASE_URL with this service's driver. Raises ConfigError."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigError("DATABASE_URL is not a database URL; see docs/jobs.md.") from None
    driver = DRIVERS.get(url.drivername.split("+")[0])
    if driver is None:
        raise ConfigError(f"DATABASE_URL: {url.drivername} is not supported; use sqlite or postgresql.")
    return url.set(drivername=driver)


class Database:
    """Transactions of one database; open it with `open_database`. All methods raise StorageError (storage_full,
    storage_failed) when the database cannot be used."""

    def __init__(self, engine: AsyncEngine, file: SqliteFile | None = None) -> None:
        """file: the file of an SQLite database that is not in memory."""
        self._engine = engine
        self._file = file
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite allows one writer at a time. This lock is fair; SQLite's own waiting is not.
        self._writing: AbstractAsyncContextManager[object] = asyncio.Lock() if self.is_sqlite else nullcontext()
        self._trouble: StorageError | None = None
        self._unwritable = False
        """Whether writing failed; a successful read does not reset this."""
        self._logged: dict[str, float] = {}
        self._announced = False
        """Whether the log reports a failure but not yet its end."""
        self._checking = asyncio.Lock()
        self._look_at = 0.0
        self._found: StorageError | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a read-only transaction."""
        with self._translated(writes=False):
            async with self._connected() as connection:
                yield connection
        if not self._unwritable:
            self._fine()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction. It is committed at the end of the block, or rolled back on an exception."""
        with self._translated(writes=True):
            async with self._writing, self._connected() as plain:
                connection = await plain.execution_options(parley_write=True)
                async with connection.begin():
                    before = await self._changes(connection) if self._unwritable else 0
                    yield connection
                    changed = await self._changes(connection) != before if self._unwritable else False
                if self._file is not None:
                    # A commit into a file that was removed meanwhile is lost.
                    opened = connection.info["parley_files"]
                    await asyncio.to_thread(self._file.check, opened)
        if changed or not self._unwritable:
            self._fine()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            connection = await self._engine.connect()
        except InvalidRequestError as error:  # SQLAlchemy raises this after its last retry
            raise DisconnectionError("reconnecting failed") from error
        try:
            yield connection
        finally:
            await asyncio.shield(connection.close())

    async def _changes(self, connection: AsyncConnection) -> int:
        """Return the number of rows that this connection has changed so far; -1 on PostgreSQL, which is not queried."""
        return int(await connection.scalar(text("SELECT total_changes()")) or 0) if self.is_sqlite else -1

    async def check(self) -> None:
        """Check that jobs can be read and, after a failed write, written; at most every LOOK_S. Raises StorageError."""
        async with self._checking:
            if time.monotonic() >= self._look_at:
                self._found = await self._look()
                self._look_at = time.monotonic() + LOOK_S
        if self._found is not None:
            raise self._found

    async def _look(self) -> StorageError | None:
        try:
            async with asyncio.timeout(CHECK_S):
                async with self.reading() as connection:
                    await connection.scalar(text("SELECT count(*) FROM tallies"))
                if self._unwritable:
                    async with self.writing() as connection:
                        await connection.execute(text("UPDATE tallies SET jobs = jobs"))
        except StorageError as error:
            return error
        except TimeoutError:
            late = StorageFailed(f"The database does not answer ({SETTING}).", setting=SETTING)
            self._failed(late, f"no answer within {CHECK_S:g} s", writes=False)
            return late
        return None

    @contextmanager
    def _translated(self, *, writes: bool) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError):
            raise  # an error of the statement, not of the database
        except (DBAPIError, PoolTimeoutError, DisconnectionError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
            if getattr(cause, "sqlstate", None) == DISK_FULL or sqlite_file.is_full(
                cause, self._file.path if self._file else None
            ):
                found: StorageError = storage_full(SETTING)
            else:
                found = StorageFailed(f"The database cannot be used; see the log, and {SETTING}.", setting=SETTING)
            self._failed(found, _reason(error), writes=writes)
            raise found from error

    def _failed(self, error: StorageError, reason: str, *, writes: bool) -> None:
        self._unwritable = self._unwritable or writes
        if self._trouble is None or self._trouble.code != error.code:
            now = time.monotonic()
            if now - self._logged.get(error.code, -AGAIN_S) >= AGAIN_S:
                self._logged[error.code], self._announced = now, True
                log.error("the database cannot be used (%s): %s; jobs are refused until it can", SETTING, reason)
        self._trouble = error

    def _fine(self) -> None:
        if self._announced:
            log.warning("the database can be used again")
        self._trouble, self._unwritable, self._announced = None, False, False

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`, which have the same syntax in
        both databases."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)


@asynccontextmanager
async def open_database(database_url: str) -> AsyncIterator[Database]:
    """Open a database, connected and migrated. Raises ConfigError if it cannot be used."""
    url = address(database_url)
    file = _file(url)
    engine = await _engine(url, file)
    database = Database(engine, file)
    try:
        try:
            async with database.writing() as connection:
                if url.get_backend_name() == "postgresql":
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                await connection.run_sync(migrate)
            if file is not None:
                async with database.reading() as connection:
                    await connection.run_sync(sqlite_file.check_pages, file.path)
                file.created = True
        except StorageError as error:
            shown = url.render_as_string(hide_password=True)
            reason = _reason(error.__cause__ or error)
            raise ConfigError(f"The database {shown} cannot be used: {reason}. See {SETTING}.") from error
        yield database
    finally:
        await engine.dispose()
        if file is not None:
            file.close()


def _file(url: URL) -> SqliteFile | None:
    """Return the file of an SQLite database; None for a database in memory and for PostgreSQL."""
    named = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith(NOT_FILES)
    return SqliteFile(Path(url.database or "").absolute()) if named else None


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause) or type(cause).__name__).strip().splitlines()[0].rstrip(".")


async def _engine(url: URL, file: SqliteFile | None) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        limits = {"connect_timeout": CONNECT_S, "tcp_user_timeout": UNANSWERED_MS}
        given = {name: value for name, value in limits.items() if name not in url.query}
        try:
            return create_async_engine(url, pool_size=10, pool_timeout=30, pool_pre_ping=True, connect_args=given)
        except ModuleNotFoundError:
            raise ConfigError(f"PostgreSQL needs the extra `postgres`: {how_to_install('postgres')}.") from None
    if file is not None:
        try:
            await asyncio.to_thread(private_folder, file.path.parent)
            await asyncio.to_thread(_make, file.path)
        except OSError as error:
            raise ConfigError(
                f"The database or its folder cannot be created: {error.strerror}. See {SETTING}."
            ) from None
        # Never recreate the file later: an empty database would hide that the old one was removed.
        url = url.set(database=f"file:{quote(str(file.path))}").update_query_dict({"mode": "rw", "uri": "true"})
    engine = create_async_engine(url, pool_size=5, pool_timeout=30)

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # Stop the driver from beginning transactions: `begun` does, depending on whether the transaction will write.
        connection.isolation_level = None
        if file is not None:
            await_only(asyncio.to_thread(file.check_before_opening))
        connection.create_function("casefold", 1, str.casefold, deterministic=True)  # SQLite lowers only ASCII
        cursor = connection.cursor()
        # FULL: acknowledged writes survive a power cut, too.
        for pragma in (f"busy_timeout={BUSY_MS}", "synchronous=FULL", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        _into_wal(cursor)
        if file is not None:
            cursor.execute("SELECT count(*) FROM sqlite_master")  # creates the write-ahead log
            cursor.fetchall()
            record.info["parley_files"] = await_only(asyncio.to_thread(file.opened))
        cursor.close()

    @event.listens_for(engine.sync_engine, "checkout")
    def lent(connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        if file is not None:
            try:
                await_only(asyncio.to_thread(file.check, record.info["parley_files"]))
            except sqlite_file.Damaged as error:
                raise InvalidatePoolError(str(error)) from error  # makes the pool reconnect

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        # Cached pages may no longer match the file.
        connection.exec_driver_sql("PRAGMA shrink_memory")
        # IMMEDIATE: a transaction that reads first and writes later would fail if another one wrote in between.
        write = connection.get_execution_options().get("parley_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _make(database: Path) -> None:
    """Create an empty file, which SQLite treats as a new database. SQLite's other files (-wal, -shm) get its mode.
    Raises OSError."""
    with contextlib.suppress(FileExistsError):
        open(database, "xb", opener=opener).close()


def _into_wal(cursor: DBAPICursor) -> None:
    """Switch to a write-ahead log. Retry on a lock: several services may create the same database at once, and SQLite
    itself does not wait in this case."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in BUSY or time.monotonic() >= deadline:
                raise
            await_only(asyncio.sleep(0.02))  # this runs inside SQLAlchemy, which the event loop has called


def migrate(connection: Connection) -> None:
    """Migrate the tables to the newest version, in the transaction of this connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
