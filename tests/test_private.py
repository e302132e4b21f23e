"""Only the service's own user can read stored audio and text."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.support.private_files import private_folder
from tests.in_process import in_process
from tests.questions import sample
from tests.server_process import TURN_S


@pytest.fixture
def usual() -> Iterator[None]:
    """Set the usual umask, which lets every user read new files."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("usual")
def test_new_folders_are_private_and_existing_ones_unchanged(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    for _ in range(2):
        private_folder(there / "one" / "two")
    assert [mode(path) for path in (there, there / "one", there / "one" / "two")] == [0o755, 0o700, 0o700]
    (there / "file").touch()
    with pytest.raises(OSError, match="exists"):
        private_folder(there / "file")


@pytest.mark.usefixtures("usual")
def test_database_and_uploads_are_readable_only_by_the_service(tmp_path: Path) -> None:
    data = tmp_path / "var" / "data"
    settings = {"DATABASE_URL": f"sqlite:///{data}/parley.db", "UPLOAD_DIR": str(data / "uploads"), "JOB_WORKERS": "0"}
    with in_process(tmp_path, **settings) as server:
        files = {"files": ("a.wav", sample("hello"))}
        httpx.post(f"{server.url}/jobs", files=files, timeout=TURN_S).raise_for_status()
        made = [path for path in (tmp_path / "var").rglob("*") if path.exists()]
        assert {path.name for path in made} >= {"parley.db", "parley.db-wal", "parley.db-shm", "incoming"}
        assert sum(path.stat().st_size == len(sample("hello")) for path in made) == 1
        for path in (tmp_path / "var", *made):
            assert mode(path) == (0o700 if path.is_dir() else 0o600), path
