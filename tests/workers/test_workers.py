"""An engine behind a worker: results, streams, cancellation, crashes; in a process and in a thread."""

import asyncio
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline import workers
from pipeline.errors import EngineError, Overloaded, WorkerCrashed
from pipeline.settings import HOME, Settings
from pipeline.workers import EngineSpec, Serving, Worker, open_worker
from pipeline.workers.caller import Urgency, calling
from pipeline.workers.wire import LENGTH, Call, Ready, pack, unpack
from tests.waiting import WAIT_S, eventually
from tests.workers.contract import (  # noqa: F401  # tests of any worker
    test_a_closed_stream_stops_the_engine,
    test_audio_arrives_unchanged,
    test_calls_and_streams_return_the_engines_results,
    test_typed_errors_are_raised_and_the_worker_survives,
)

SPEC = EngineSpec("counter", "tests.workers.engines:Counter", 10)


def opened(
    *,
    isolate: bool = True,
    silence_s: float = 30.0,
    idle_s: float = 0.0,
    max_waiting: int = 2,
    max_wait_s: float = 15.0,
    spec: EngineSpec = SPEC,
    **serving: Any,
) -> AbstractAsyncContextManager[Worker]:
    settings = Settings(model_host="local" if isolate else "thread", model_idle_seconds=idle_s)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "MAX_WAITING", max_waiting)
        patch.setattr(workers, "MAX_WAIT_S", max_wait_s)
        return open_worker(spec, settings, Serving(silence_s, batched=frozenset({"hear"}), **serving))


@pytest.fixture(params=["process", "thread"])
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    async with opened(isolate=request.param == "process") as worker:
        yield worker


@pytest.fixture
async def process() -> AsyncIterator[Worker]:
    async with opened() as worker:
        yield worker


async def test_a_failing_constructor_is_reported() -> None:
    for isolate in (True, False):
        with pytest.raises(EngineError, match="below zero"):
            async with opened(isolate=isolate, spec=EngineSpec("c", SPEC.target, -1), replicas=2):
                pass


async def test_too_many_waiting_calls_are_refused_at_once(worker: Worker) -> None:
    async with aclosing(worker.stream("count", 100, 0.01)) as stream:
        assert await anext(stream) == 10
        waiting = [asyncio.create_task(worker.call("echo", i)) for i in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await worker.call("echo", "one too many")
    assert await asyncio.gather(*waiting) == [0, 1]


async def test_a_user_alone_is_served_by_the_replica_of_the_highest_priority() -> None:
    async with opened(replicas=2) as worker:
        first = {await worker.call("pid") for _ in range(4)}
        async with aclosing(worker.stream("count", 100, 0.01)) as stream:
            await anext(stream)
            second = await worker.call("pid")
    assert len(first) == 1
    assert second not in first


async def test_further_replicas_have_a_lower_priority() -> None:
    async with opened(replicas=3) as worker, AsyncExitStack() as stack:
        niceness = []
        for _ in range(3):
            niceness.append(psutil.Process(await worker.call("pid")).nice())
            busy = await stack.enter_async_context(aclosing(worker.stream("count", 1000, 0.01)))
            await anext(busy)
        assert niceness[1:] == [niceness[0] + workers.SPARE_NICENESS] * 2


async def test_a_call_that_waits_too_long_is_refused_but_a_file_waits() -> None:
    async with opened(max_wait_s=0.2) as worker:
        counting = asyncio.create_task(_all(worker.stream("count", 20, 0.1)))
        await _running(worker)
        with calling(urgency=Urgency.FILE):
            file = asyncio.create_task(worker.call("echo", "file"))
        began = time.monotonic()
        with pytest.raises(Overloaded):
            await worker.call("echo", "now")
        assert time.monotonic() - began > 0.15
        assert not counting.done()  # and not only when its turn comes
        assert await file == "file"
        assert len(await counting) == 20
        assert await worker.call("echo", "now") == "now"


async def test_a_cancelled_caller_returns_at_once_and_results_do_not_mix(process: Worker) -> None:
    slow = asyncio.create_task(anext(process.stream("count", 2, 3.0)))
    await _running(process)
    slow.cancel()
    async with asyncio.timeout(2.5):
        await asyncio.wait([slow])
    assert await process.call("echo", "mine") == "mine"


@pytest.mark.parametrize("isolate", [True, False])
async def test_errors_in_the_block_are_raised_unchanged(isolate: bool) -> None:
    with pytest.raises(ZeroDivisionError):
        async with opened(isolate=isolate):
            raise ZeroDivisionError


async def test_a_call_that_kills_its_process_twice_fails_alone(process: Worker) -> None:
    first = await process.call("pid")
    with pytest.raises(WorkerCrashed):
        await process.call("die")
    assert process.load().restarts >= 1
    assert await process.call("pid") != first


async def test_a_call_is_retried_if_its_process_dies_before_any_output(process: Worker, tmp_path: Path) -> None:
    assert await process.call("die_once", str(tmp_path / "died")) == "done"
    assert process.load().restarts == 1


async def test_a_stream_with_output_is_not_restarted(process: Worker) -> None:
    got = []
    with pytest.raises(WorkerCrashed):
        async for item in process.stream("count_and_die", 3):
            got.append(item)
    assert got == [0, 1, 2]
    assert await process.call("echo", 1) == 1


async def test_a_worker_killed_while_idle_restarts_before_the_next_call(process: Worker) -> None:
    for restarts in (1, 2, 3):
        pid = await process.call("pid")
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda restarts=restarts: process.load().restarts == restarts and process.load().loaded)  # type: ignore[misc]
        assert await process.call("pid") != pid


async def test_a_call_right_after_a_kill_succeeds(process: Worker) -> None:
    for _ in range(3):
        pid = await process.call("pid")
        os.kill(pid, signal.SIGKILL)
        assert await process.call("pid") != pid


@pytest.mark.parametrize(("method", "args", "given"), [("hang", (), []), ("count_and_hang", (2,), [0, 1])])
async def test_a_hang_is_ended_without_a_cancellation(method: str, args: tuple[int, ...], given: list[int]) -> None:
    async with opened(silence_s=2.0) as worker:
        pid = await worker.call("pid")
        got = []
        with pytest.raises(WorkerCrashed) as raised:
            async for item in worker.stream(method, *args):
                got.append(item)
        assert raised.value.code == "timeout"
        assert got == given
        assert await worker.call("pid") != pid
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_hanging_file_call_is_retried_and_a_turns_call_is_not(tmp_path: Path) -> None:
    async with opened(silence_s=3.0) as worker:
        with calling(urgency=Urgency.FILE):
            assert await worker.call("stop_once", str(tmp_path / "file")) == "done"
        with calling(urgency=Urgency.NOW), pytest.raises(WorkerCrashed) as raised:
            await worker.call("stop_once", str(tmp_path / "turn"))
        assert raised.value.code == "timeout"


async def test_a_slow_reader_does_not_count_as_a_hang() -> None:
    async with opened(silence_s=2.0) as worker:
        got = []
        async for item in worker.stream("count", 12, 0):
            got.append(item)
            await asyncio.sleep(0.25)
        assert len(got) == 12
        assert worker.load().restarts == 0


async def test_a_call_that_waits_for_others_does_not_count_as_a_hang() -> None:
    async with opened(silence_s=2.0) as worker:
        steps = [asyncio.create_task(_all(worker.stream("count", 5, 0.5))) for _ in range(2)]
        assert await asyncio.gather(*steps) == [[10, 11, 12, 13, 14]] * 2


async def _all(stream: AsyncIterator[int]) -> list[int]:
    return [item async for item in stream]


async def _running(worker: Worker) -> None:
    """Wait until a call that was started in a task runs."""
    await eventually(lambda: worker.load().running)


@pytest.mark.parametrize("isolate", [True, False])
async def test_replicas_work_in_parallel(isolate: bool) -> None:
    async with opened(isolate=isolate, replicas=2) as worker:
        async with asyncio.timeout(WAIT_S), AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(aclosing(worker.stream("count", 100_000, 0.01))) for _ in range(2)
            ]
            assert [await anext(stream) for stream in streams * 3] == [10, 10, 11, 11, 12, 12]
            assert worker.load().running == 2
        assert worker.load().replicas == worker.load().loaded == 2


async def test_when_one_replica_dies_the_other_continues() -> None:
    async with opened(replicas=2) as worker:
        counting = asyncio.create_task(_all(worker.stream("count", 20, 0.05)))
        await _running(worker)
        with pytest.raises(WorkerCrashed):
            await worker.call("die")
        assert await worker.call("echo", 1) == 1
        assert await counting == list(range(10, 30))


async def test_an_idle_model_is_unloaded_and_the_next_call_loads_it_again() -> None:
    async with opened(idle_s=0.2) as worker:
        pid = await worker.call("pid")
        await eventually(lambda: not psutil.pid_exists(pid) and not worker.load().loaded)
        assert await worker.call("pid") != pid
        assert worker.load().restarts == 0
        # A call that takes longer than the idle time does not count as idle.
        assert await _all(worker.stream("count", 3, 0.15)) == [10, 11, 12]


@pytest.mark.parametrize("isolate", [True, False])
async def test_waiting_calls_run_as_a_batch(isolate: bool) -> None:
    async with opened(isolate=isolate, batch=3, max_waiting=10) as worker:
        calls = await _one_and_then(worker, 0.4, "0", "1", "2", "3", "4")
        assert await asyncio.gather(*calls) == [("0", 1), ("1", 3), ("2", 3), ("3", 3), ("4", 1)]


async def _one_and_then(worker: Worker, seconds: float, *names: str) -> list[asyncio.Task[object]]:
    """Calls that need `seconds` each. All but the first arrive while the first one runs."""
    calls = []
    for name in names:
        calls.append(asyncio.create_task(_last(worker.stream("hear", name, seconds))))
        if name == names[0]:
            while not worker.load().running:  # noqa: ASYNC110  # no longer: the others are to come meanwhile
                await asyncio.sleep(0)
    await asyncio.sleep(0)
    return calls


async def _last(stream: AsyncIterator[object]) -> object:
    return [item async for item in stream][-1]


@pytest.mark.parametrize("isolate", [True, False])
async def test_a_failed_or_cancelled_call_does_not_affect_its_batch(isolate: bool) -> None:
    async with opened(isolate=isolate, batch=8, max_waiting=10) as worker:
        calls = await _one_and_then(worker, 1.0, "first", "a", "fail", "b", "given up", "c")
        await calls[0]
        await asyncio.sleep(0.1)  # the second batch runs
        calls[4].cancel()
        heard = await asyncio.gather(*calls, return_exceptions=True)
        assert [heard[index] for index in (0, 1, 3, 5)] == [("first", 1), ("a", 5), ("b", 5), ("c", 5)]
        assert isinstance(heard[2], EngineError)
        assert isinstance(heard[4], asyncio.CancelledError)
        assert await worker.call("echo", 1) == 1


async def test_a_call_that_crashes_the_process_does_not_fail_its_batch() -> None:
    async with opened(batch=8, max_waiting=10) as worker:
        calls = await _one_and_then(worker, 0.1, "first", "a", "die", "b")
        heard = await asyncio.gather(*calls, return_exceptions=True)
        assert [heard[0], heard[1], heard[3]] == [("first", 1), ("a", 1), ("b", 1)]


async def test_a_cancel_reaches_the_process_within_50_ms(process: Worker) -> None:
    """Time until the engine is free again; it yields every millisecond. The median of many, minus the time of an empty
    call, because other processes also use the processor.
    """
    left_s, free_s, call_s = [], [], []
    for _ in range(20):
        began = time.monotonic()
        await process.call("echo", 1)
        call_s.append(time.monotonic() - began)
        stream = process.stream("count", 100_000, 0.001)
        await anext(stream)
        began = time.monotonic()
        await stream.aclose()
        left_s.append(time.monotonic() - began)
        await process.call("echo", 1)
        free_s.append(time.monotonic() - began)
    usual_s = statistics.median(call_s)
    assert statistics.median(left_s) < 0.02 + usual_s  # the caller does not wait
    assert statistics.median(free_s) < 0.05 + 4 * usual_s


async def test_closing_ends_running_and_waiting_calls() -> None:
    async with opened() as worker:
        calls = [asyncio.create_task(_all(worker.stream("count", 100_000, 0.01))) for _ in range(3)]
        await _running(worker)
    for heard in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(heard, EngineError)
    with pytest.raises(EngineError, match="closed"):
        await worker.call("echo", 1)


async def test_the_process_ends_with_its_block() -> None:
    async with opened() as worker:
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
        "    async with t.opened() as w:\n"
        "        print(await w.call('pid'), flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await parent.communicate()
    await eventually(lambda: _gone(int(out)))


def _gone(pid: int) -> bool:
    """Whether the process has ended; a zombie counts."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_process_ends_when_its_service_dies_with_unread_results() -> None:
    """The socket is then reset, not closed."""
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipeline.workers.child", str(theirs.fileno()), SPEC.name, "0"],
            pass_fds=[theirs.fileno()], cwd=HOME, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        with ours:
            ours.sendall(pack(SPEC))
            ours.settimeout(60)
            size = LENGTH.unpack(ours.recv(LENGTH.size, socket.MSG_WAITALL))[0]
            assert isinstance(unpack(bytearray(ours.recv(size, socket.MSG_WAITALL))), Ready)
            ours.sendall(pack(Call(1, "echo", ("hello",))))
            assert select.select([ours], [], [], 60)[0], "a result that is not read"
            time.sleep(0.2)  # the child waits for its next call
        assert child.wait(WAIT_S) == 0
    finally:
        child.kill()
        child.wait()
