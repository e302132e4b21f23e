"""Tests of every host of models, for modules with a fixture `worker`: a `tests.workers.engines:Counter` from 10."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.workers import Worker


async def test_calls_and_streams_return_the_engines_results(worker: Worker) -> None:
    assert await worker.call("echo", "hello") == "hello"
    assert [i async for i in worker.stream("count", 3, 0)] == [10, 11, 12]


async def test_audio_arrives_unchanged(worker: Worker) -> None:
    clip = Clip(np.linspace(-1, 1, 480_000, dtype=np.float32), 16_000)
    back = await worker.call("echo", clip)
    assert back.rate_hz == 16_000
    assert np.array_equal(back.samples, clip.samples)


async def test_typed_errors_are_raised_and_the_worker_survives(worker: Worker) -> None:
    with pytest.raises(EngineError, match="asked to fail") as raised:
        await worker.call("fail")
    assert raised.value.code == "timeout"
    with pytest.raises(Exception, match="strange"):
        await worker.call("fail_strangely")
    assert await worker.call("echo", 1) == 1


async def test_a_closed_stream_stops_the_engine(worker: Worker, tmp_path: Path) -> None:
    notes = tmp_path / "steps"
    async with aclosing(worker.stream("note", str(notes), 1000, 0.02)) as stream:
        await anext(stream)
    # The next call waits for the end of the cancelled one, so the log is final now.
    assert await worker.call("echo", 1) == 1
    steps = notes.read_text()
    await asyncio.sleep(0.1)
    assert notes.read_text() == steps
    assert len(steps.splitlines()) < 500
