"""An engine behind a worker: results, streams, cancellation, crashes; in a process and in a thread."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio import Clip
from pipeline.errors import EngineError, Overloaded, WorkerCrashed
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Worker, open_worker
from pipeline.workers.process import ProcessWorker

SPEC = EngineSpec("counter", "tests.workers.engines:Counter", 10)


@pytest.fixture(params=["process", "thread"])
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    settings = Settings(isolate_models=request.param == "process", max_waiting=2)
    async with open_worker(SPEC, settings) as worker:
        yield worker


@pytest.fixture
async def process() -> AsyncIterator[ProcessWorker]:
    async with ProcessWorker(SPEC, max_waiting=2, start_timeout_s=30) as worker:
        yield worker


async def test_call_and_stream(worker: Worker) -> None:
    assert await worker.call("echo", "hello") == "hello"
    assert [i async for i in worker.stream("count", 3, 0)] == [10, 11, 12]


async def test_audio_arrives_unchanged(worker: Worker) -> None:
    clip = Clip(np.linspace(-1, 1, 480_000, dtype=np.float32), 16_000)
    back = await worker.call("echo", clip)
    assert back.rate_hz == 16_000
    assert np.array_equal(back.samples, clip.samples)


async def test_typed_errors_come_back_and_the_worker_lives(worker: Worker) -> None:
    with pytest.raises(EngineError, match="asked to fail") as raised:
        await worker.call("fail")
    assert raised.value.code == "timeout"
    with pytest.raises(Exception, match="strange"):
        await worker.call("fail_strangely")
    assert await worker.call("echo", 1) == 1


async def test_a_constructor_that_fails_says_so() -> None:
    for isolate in (True, False):
        with pytest.raises(EngineError, match="below zero"):
            async with open_worker(EngineSpec("c", SPEC.target, -1), Settings(isolate_models=isolate)):
                pass


async def test_too_many_waiting_is_refused_at_once(worker: Worker) -> None:
    async with aclosing(worker.stream("count", 100, 0.01)) as stream:
        assert await anext(stream) == 10
        waiting = [asyncio.create_task(worker.call("echo", i)) for i in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await worker.call("echo", "one too many")
    assert await asyncio.gather(*waiting) == [0, 1]


async def test_a_closed_stream_stops_the_engine(worker: Worker, tmp_path: Path) -> None:
    notes = tmp_path / "steps"
    async with aclosing(worker.stream("note", str(notes), 1000, 0.02)) as stream:
        await anext(stream)
    # The next call waits for the end of the cancelled one, so what is written now stays.
    assert await worker.call("echo", 1) == 1
    steps = notes.read_text()
    await asyncio.sleep(0.1)
    assert notes.read_text() == steps
    assert len(steps.splitlines()) < 20


async def test_a_cancelled_caller_leaves_at_once_and_the_next_gets_its_own_answer(process: ProcessWorker) -> None:
    slow = asyncio.create_task(anext(process.stream("count", 2, 0.5)))
    await asyncio.sleep(0.05)
    slow.cancel()
    async with asyncio.timeout(0.2):
        await asyncio.wait([slow])
    assert await process.call("echo", "mine") == "mine"


async def test_crash_in_mid_call_is_told_and_mended(process: ProcessWorker) -> None:
    first = await process.call("pid")
    with pytest.raises(WorkerCrashed):
        await process.call("die")
    got = []
    with pytest.raises(WorkerCrashed):
        async for item in process.stream("count_and_die", 3):
            got.append(item)
    assert got == [0, 1, 2]
    assert await process.call("pid") != first


async def test_killed_while_idle_is_started_again(process: ProcessWorker) -> None:
    for _ in range(3):
        pid = await process.call("pid")
        os.kill(pid, signal.SIGKILL)
        try:
            assert await process.call("pid") != pid
        except WorkerCrashed:  # the kill was noticed only after the call had been sent
            assert await process.call("pid") != pid


async def test_the_process_ends_with_its_block() -> None:
    async with ProcessWorker(SPEC, max_waiting=2, start_timeout_s=30) as worker:
        pid = await worker.call("pid")
        stream = worker.stream("count", 1000, 0.01)
        await anext(stream)
        await stream.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_process_ends_when_its_parent_is_killed() -> None:
    code = (
        "import asyncio, os, tests.workers.test_workers as t\n"
        "async def main():\n"
        "    async with t.ProcessWorker(t.SPEC, max_waiting=2, start_timeout_s=30) as w:\n"
        "        print(await w.call('pid'), flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    import sys

    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await parent.communicate()
    pid = int(out)
    async with asyncio.timeout(5):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().split()[2] == "Z":
                    break
            await asyncio.sleep(0.02)
