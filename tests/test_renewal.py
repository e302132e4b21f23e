"""How the main process of several fronts replaces them (SIGHUP), with fronts that are small processes."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from server.fronts import main_process
from server.fronts.main_process import MainProcess
from server.fronts.process import Front
from tests.servers.running import closed_port
from tests.waiting import eventually

ALL_NEW = "SIGHUP: all processes that serve connections are new"


class Service:
    """A service whose fronts are those of tests/tiny_front.py."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = self._changed(**settings)
        self.read: Callable[[], Settings | None] = lambda: self.settings
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.main = MainProcess(self.settings, self.listening, lambda: None, lambda: self.read())

    def _changed(self, **settings: Any) -> Settings:
        return Settings(_env_file=None, upload_dir=self.folder, **settings)  # type: ignore[call-arg]

    def renew(self, **settings: Any) -> None:
        """Give the service new settings."""
        self.settings = self._changed(**settings)
        self.main.renew()

    def file(self, name: str) -> Path:
        """Return a file that holds up a front, or in which one notes something."""
        return self.folder / name

    async def front(self, name: str) -> Front:
        """Return a front, once it is ready."""
        await eventually(lambda: any(one.name == name and one.ready.is_set() for one in self.fronts))
        return next(one for one in self.fronts if one.name == name)

    @property
    def fronts(self) -> list[Front]:
        return self.main._fronts


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Service]:
    service = Service(folder, **settings)
    run = asyncio.create_task(service.main.run())
    try:
        yield service
    finally:
        for file in folder.iterdir():
            file.unlink()
        service.main.stop()
        await run


@pytest.fixture(autouse=True)
def tiny_fronts(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(main_process, "FRONT", "tests.tiny_front")
    caplog.set_level(logging.INFO)


async def test_a_process_that_starts_meanwhile_is_replaced_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "start-2").touch()
    async with running(tmp_path, processes=2) as service:
        await service.front("1")
        service.renew(processes=2, silence_ms=900)
        await service.front("3")
        await eventually(lambda: "1" not in [one.name for one in service.fronts])
        assert ALL_NEW not in caplog.text
        service.file("start-2").unlink()
        await eventually(lambda: ALL_NEW in caplog.text)
        assert sorted(one.name for one in service.fronts) == ["3", "4"]
        assert {one.settings.silence_ms for one in service.fronts} == {900}


async def test_a_new_process_that_dies_while_the_old_one_drains_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "drain-1").touch()
    async with running(tmp_path) as service:
        await service.front("1")
        service.renew(silence_ms=900)
        new = await service.front("2")
        await eventually(service.file("draining-1").exists)
        assert service.main._takers() == [new], (
            "the old one gets no connections, although it has not said that it drains"
        )
        new.process.kill()
        again = await service.front("3")
        assert again.settings.silence_ms == 900
        assert "1" in [one.name for one in service.fronts]
        service.file("drain-1").unlink()
        await eventually(lambda: ALL_NEW in caplog.text)
        assert service.fronts == [again]


async def test_an_old_process_drains_as_long_as_its_own_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main_process, "END_S", 0.0)
    (tmp_path / "drain-1").touch()
    async with running(tmp_path, drain_seconds=600) as service:
        old = await service.front("1")
        service.renew(drain_seconds=30)
        await eventually(service.file("draining-1").exists)
        service.file("drain-1").unlink()
        await eventually(lambda: ALL_NEW in caplog.text)
        assert old.process.returncode == 0


async def test_any_failure_to_read_the_settings_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Settings | None:
        raise LookupError

    async with running(tmp_path) as service:
        first = await service.front("1")
        read, service.read = service.read, fail
        service.main.renew()
        await eventually(lambda: "go on with their settings" in caplog.text)
        assert service.fronts == [first]
        service.read = read
        service.renew(silence_ms=900)
        await eventually(lambda: ALL_NEW in caplog.text)
        assert [one.settings.silence_ms for one in service.fronts] == [900]


async def test_the_log_names_what_has_changed_and_what_cannot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as service:
        await service.front("1")
        service.renew(silence_ms=900, api_keys="a-secret-of-ours-0123456789", processes=3)
        await eventually(lambda: ALL_NEW in caplog.text)
        assert "SIGHUP: changed settings: API_KEYS, SILENCE_MS" in caplog.text
        assert "PROCESSES cannot change before the service is restarted" in caplog.text
        assert "a-secret" not in caplog.text
        caplog.clear()
        service.main.renew()
        await eventually(lambda: ALL_NEW in caplog.text)
        assert "SIGHUP: changed" not in caplog.text


async def test_an_address_that_the_new_settings_do_not_have_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, stays = closed_port(), closed_port()
    async with running(tmp_path, audiosocket_address=f"127.0.0.1:{gone}") as service:
        await service.front("1")
        socket.create_connection(("127.0.0.1", gone)).close()
        service.renew(audiosocket_address=f"127.0.0.1:{stays}")
        await eventually(lambda: ALL_NEW in caplog.text)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gone))
        for port in (stays, service.listening.getsockname()[1]):
            socket.create_connection(("127.0.0.1", port)).close()
