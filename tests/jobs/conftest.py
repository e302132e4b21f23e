"""Stores on every available database, and recordings that the tests' Whisper transcribes."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from jobs.database import Database, open_database
from jobs.job import Options, Submission
from jobs.store import JobStore
from pipeline.audio.clip import encode_wav
from tests.servers import postgres
from tests.servers.postgres import Postgres
from tests.stt.recordings import spliced

needs_postgres = pytest.mark.skipif(
    postgres.binaries() is None or os.environ.get("PARLEY_NO_POSTGRES") == "1",
    reason="PostgreSQL is not installed (Debian: postgresql; `make services`), or PARLEY_NO_POSTGRES=1",
)


@pytest.fixture(scope="session")
def pg() -> Iterator[Postgres]:
    """A PostgreSQL server for this test run."""
    with postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[needs_postgres, pytest.mark.service])])
def database_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server: Postgres = request.getfixturevalue("pg")
    return server.database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database, max_waiting=1000)


def submission(name: str = "a.wav", **values: object) -> Submission:
    """A job for a file that does not exist."""
    return Submission(name, Options(), **({"sha256": "ab" * 32, "size_bytes": 1} | values))  # type: ignore[arg-type]


def recording(*numbers: int, silence_s: float = 2.0) -> bytes:
    """A WAV of these utterances."""
    clip, _ = spliced([(silence_s, number) for number in numbers])
    return encode_wav(clip)
