"""How the main process of several fronts watches one of them."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.workers import Hosting
from pipeline.workers.sharing.link import Link
from pipeline.workers.sharing.models import SharedModels
from server.fronts import process
from server.fronts.messages import Ping
from server.fronts.process import Front, result_of


@asynccontextmanager
async def front() -> AsyncIterator[tuple[Front, Link]]:
    """Start a process that does nothing; yield it as a front, and its end of the link."""
    ours, theirs = [await Link.over(end) for end in socket.socketpair()]
    models = SharedModels(Hosting(isolated=True, max_wait_s=15.0, idle_s=0.0))
    idle = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    started = Front("1", Settings(_env_file=None), idle, ours, socket.socket(), models.join(ours))  # type: ignore[call-arg]
    try:
        yield started, theirs
    finally:
        if idle.returncode is None:
            idle.kill()
        await idle.wait()
        await started.close()
        theirs.close()


async def test_a_front_that_does_not_respond_is_killed_also_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PING_S", "ANSWER_S"):
        monkeypatch.setattr(process, name, 0.01)
    monkeypatch.setattr(process, "START_HANG_S", 0.2)
    async with front() as (hanging, _):
        assert await hanging.process.wait() == -signal.SIGKILL


async def test_an_error_of_one_front_is_no_result() -> None:
    async def fail(_: Ping) -> None:
        raise ValueError

    async with front() as (failing, theirs), background(theirs.run()):
        theirs.answer(Ping, fail)
        assert await result_of(failing.link, Ping()) == []
