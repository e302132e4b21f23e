"""An engine on a Ray cluster of this machine: the same behaviour as in a worker process, and lost replicas."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from pipeline.errors import EngineError, Overloaded, WorkerCrashed
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, Worker, open_model_host, open_worker
from pipeline.workers.caller import Urgency, calling
from pipeline.workers.on_ray import worker as on_ray
from pipeline.workers.on_ray.connection import connected
from tests.ray.starting import needs_ray
from tests.waiting import eventually
from tests.workers.contract import (  # noqa: F401  # tests of any worker
    test_a_closed_stream_stops_the_engine,
    test_audio_arrives_unchanged,
    test_calls_and_streams_return_the_engines_results,
    test_typed_errors_are_raised_and_the_worker_survives,
)

pytestmark = [needs_ray, pytest.mark.asyncio(loop_scope="module")]
COUNTER = EngineSpec("counter", "tests.workers.engines:Counter", 10)
FAULTY = EngineSpec("faulty", "tests.ray.engines:Faulty", None)


SETTINGS = Settings(_env_file=None, model_host="ray")  # type: ignore[call-arg]


def opened(spec: EngineSpec, *, replicas: int = 1) -> AbstractAsyncContextManager[Worker]:
    return open_worker(spec, SETTINGS, Serving(30.0, replicas, batched=frozenset({"hear"}), batch=4))


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def cluster() -> AsyncIterator[None]:
    async with open_model_host(SETTINGS):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(cluster: None) -> AsyncIterator[Worker]:
    async with opened(COUNTER) as worker:
        yield worker


async def test_its_host_is_ray(worker: Worker) -> None:
    assert await worker.call("echo", "hello") == "hello"
    assert worker.load().host == "ray"


async def test_a_failing_constructor_is_reported() -> None:
    with pytest.raises(EngineError, match="below zero"):
        async with opened(EngineSpec("counter", COUNTER.target, -1)):
            pass


async def test_a_full_queue_refuses_at_once(worker: Worker) -> None:
    async with aclosing(worker.stream("count", 1000, 0.05)) as stream:
        assert await anext(stream) == 10
        waiting = [asyncio.create_task(worker.call("echo", i)) for i in range(40)]
        _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await eventually(lambda: sum(task.done() for task in waiting) == 8)
        assert pending
        assert all(isinstance(task.exception(), Overloaded) for task in waiting if task.done())
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 32


async def test_a_cancelled_call_does_not_disturb_one_that_waits_beside_it(worker: Worker) -> None:
    async with aclosing(worker.stream("count", 1000, 0.05)) as stream:
        await anext(stream)
        kept, cancelled = (asyncio.create_task(worker.call("echo", name)) for name in ("kept", "cancelled"))
        await eventually(lambda: worker.load().waiting == 2)
        cancelled.cancel()
        await eventually(lambda: worker.load().waiting == 1)
    assert await kept == "kept"
    assert (worker.load().running, worker.load().waiting) == (0, 0)


async def test_the_replica_serves_users_before_files(worker: Worker) -> None:
    order: list[str] = []

    async def note(name: str, urgency: Urgency) -> None:
        with calling(urgency=urgency):
            await worker.call("echo", name)
        order.append(name)

    async with aclosing(worker.stream("count", 1000, 0.05)) as stream:
        await anext(stream)
        file = asyncio.create_task(note("file", Urgency.FILE))
        await eventually(lambda: worker.load().waiting == 1)
        await asyncio.sleep(0.7)  # its first sign of life: the replica has it in its queue
        user = asyncio.create_task(note("user", Urgency.NOW))
        await asyncio.sleep(0.7)
    await asyncio.gather(file, user)
    assert order == ["user", "file"]


async def test_calls_run_together_in_a_batch(worker: Worker) -> None:
    async def hear(text: str) -> tuple[str, int]:
        async with aclosing(worker.stream("hear", text, 0.1)) as steps:
            return [step async for step in steps if step is not None][-1]

    heard = await asyncio.gather(*(hear(f"utterance {i}") for i in range(8)))
    assert {text for text, _ in heard} == {f"utterance {i}" for i in range(8)}
    assert max(together for _, together in heard) > 1


async def test_a_crash_of_the_engine_is_retried_once(worker: Worker, tmp_path: Path) -> None:
    assert await worker.call("die_once", str(tmp_path / "died")) == "done"
    with pytest.raises(WorkerCrashed):
        await worker.call("die")
    assert await worker.call("echo", 1) == 1


async def test_two_workers_of_one_model_share_its_replicas(worker: Worker) -> None:
    async with opened(COUNTER) as other:
        assert await other.call("pid") == await worker.call("pid")
    assert await worker.call("echo", 1) == 1


async def test_a_model_opens_while_others_look_at_the_replicas(worker: Worker) -> None:
    """Serve pickles a module in a way that a second thread disturbs."""
    async with connected(SETTINGS) as ours, asyncio.TaskGroup() as looks:
        for _ in range(100):
            looks.create_task(ours._look())
        async with opened(EngineSpec("counter", COUNTER.target, 20)) as other:
            assert await other.call("echo", 1) == 1


@pytest.mark.parametrize("fault", ["die", "freeze"])
async def test_a_call_of_a_lost_replica_goes_to_another(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "ISOLATED", False)
    path = tmp_path / "first"
    async with opened(FAULTY, replicas=2) as worker:
        async with asyncio.timeout(60):
            second = await worker.call(fault, str(path))
        first = int(path.read_text())
        assert second != first
        # The other one goes on.
        assert await worker.call("pid")
        if fault == "freeze" and psutil.pid_exists(first):
            os.kill(first, signal.SIGCONT)


async def test_a_call_is_not_repeated_after_its_first_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "ISOLATED", False)
    path = tmp_path / "spoken"
    async with opened(FAULTY, replicas=2) as worker:
        said: list[str] = []
        with pytest.raises(WorkerCrashed):
            async with aclosing(worker.stream("speak_and_die", str(path))) as words:
                async for word in words:
                    said += [word] if word else []
                    Path(f"{path}.received").touch()
        assert said == ["Good"]
        assert path.read_text() == "spoken\n"
