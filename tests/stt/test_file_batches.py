"""Windows of recordings decoded in batches: each has the same segments as alone, in order, even with slow readers."""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import Recording
from pipeline.engines import Opened
from pipeline.errors import EngineError
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Hinted, Segment, SpeechToText, Spoken, Transcript, WindowLimits, whisper
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.transcripts.long_files import transcribe_file
from tests.stt.recordings import MODEL, RATE_HZ, spliced
from tests.waiting import eventually

Told = list[tuple[float, float, str, str | None, list[tuple[str, float, float]]]]


def told(segments: list[Segment]) -> Told:
    return [
        (round(one.start_s, 2), round(one.end_s, 2), one.text, one.language,
         [(word.text, round(word.start_s, 2), round(word.end_s, 2)) for word in one.words])
        for one in segments
    ]  # fmt: skip


@pytest.fixture(scope="module")
def windows() -> list[Clip]:
    """Single sentences, several in one window, and a window without silence."""
    found = [spliced([(0.5, number)])[0] for number in range(6)]
    found += [spliced([(0.8, number), (0.8, number + 1), (1.0, number + 2)])[0] for number in range(6, 15, 3)]
    return [*found, Clip(np.tile(found[0].samples, 9)[: 30 * RATE_HZ], RATE_HZ)]


@pytest.mark.parametrize(
    ("which", "context_s"),
    [("trained", 30.0), ("babbling", 10.0), ("random", 10.0)],
)
def test_windows_in_a_batch_have_the_same_segments_as_alone(
    which: str, context_s: float, windows: list[Clip], babbling_whisper: Path, random_whisper: Path
) -> None:
    model = {"trained": MODEL, "babbling": babbling_whisper, "random": random_whisper}[which]
    engine = WhisperEngine(WhisperConfig(str(model), (("cpu", "int8"),), 1, 1, context_s))
    if which == "trained":
        windows = windows[:6]  # with several sentences in one window the model is unsure, and then samples
    plain = FileRequest(words=which == "trained")
    requests = [replace(plain, language="en" if number % 3 else None) for number in range(len(windows))]
    requests[4] = replace(plain, language="en", prompt="hello there")
    requests[5] = replace(plain, language="en", batch_size=2)
    requests[3] = replace(plain, translate=True)
    calls = list(zip(windows, requests, strict=True))
    if which == "random":
        calls = [calls[1], calls[3]]  # the model fills every window with text, which takes seconds
    found: dict[int, list[Segment]] = {number: [] for number in range(len(calls))}
    for number, step in engine.segments_many(calls, lambda number: False):
        assert not isinstance(step, Exception), step
        if step is not None:
            found[number].append(step)
    for number, (window, request) in enumerate(calls):
        # A shorter window has fewer tokens at most than the library allows.
        sound = window.at(RATE_HZ).samples
        steps = engine.segments(window, request) if context_s < 30 else engine._by_library(sound, request)
        assert told(found[number]) == told([one for one in steps if one is not None]), number
    if which != "random":
        assert sum(map(len, found.values())) >= 4


def test_an_unknown_language_ends_only_its_window(windows: list[Clip]) -> None:
    engine = WhisperEngine(WhisperConfig(str(MODEL), (("cpu", "int8"),), 1, 1, 30.0))
    calls = [(windows[0], FileRequest("en")), (windows[1], FileRequest("xx")), (windows[2], FileRequest("en"))]
    steps = [step for step in engine.segments_many(calls, lambda number: number == 2) if step[1] is not None]
    assert [(number, type(step)) for number, step in steps] == [(1, EngineError), (0, Segment)]


@asynccontextmanager
async def opened(**settings: object) -> AsyncIterator[Opened[SpeechToText]]:
    chosen = {"whisper_model": str(MODEL), "whisper_context_s": 30.0, "stt_replicas": 1, **settings}
    options = Settings(**chosen)  # type: ignore[arg-type]
    async with whisper.open_engine(options, lambda progress: None) as engine:
        yield engine


@pytest.fixture(scope="module")
def sparse() -> tuple[bytes, list[str]]:
    clip, truth = spliced([(2.5, number) for number in range(4)])
    return encode_wav(clip), [text for text, _, _ in truth]


async def heard(stt: SpeechToText, data: bytes, request: FileRequest, pause_s: float = 0.0) -> list[Segment]:
    recording = Recording(io.BytesIO(data), max_seconds=3600)
    segments = []
    async with aclosing(transcribe_file(stt, recording, request)) as events:
        async for event in events:
            await asyncio.sleep(pause_s)
            if isinstance(event, Segment):
                segments.append(event)
    return segments


async def test_a_batched_recording_has_the_transcript_of_single_windows(sparse: tuple[bytes, list[str]]) -> None:
    data, texts = sparse
    async with (
        opened(model_host="thread", stt_batch=1) as alone,
        opened(stt_batch=8) as batched,
    ):
        assert (alone.engine.limits.batch, batched.engine.limits.batch) == (1, 8)
        for request in (FileRequest(), FileRequest("en", words=True, batch_size=3)):
            one_by_one = await heard(alone.engine, data, request)
            assert [one.text for one in one_by_one] == texts
            assert told(await heard(batched.engine, data, request)) == told(one_by_one)


async def test_slow_and_leaving_readers_do_not_delay_others(sparse: tuple[bytes, list[str]]) -> None:
    data, texts = sparse
    async with opened(stt_batch=4) as batched:

        async def leaves() -> None:
            recording = Recording(io.BytesIO(data), max_seconds=3600)
            async with aclosing(transcribe_file(batched.engine, recording, FileRequest("en"))) as events:
                await anext(events)

        slow, fast, *_ = await asyncio.gather(
            heard(batched.engine, data, FileRequest("en"), pause_s=0.05),
            heard(batched.engine, data, FileRequest("en")),
            *(leaves() for _ in range(4)),
        )
        assert slow is not None
        assert fast is not None
        assert [[one.text for one in result] for result in (slow, fast)] == [texts, texts]
        load = batched.load
        assert load is not None
        await eventually(lambda: load().running == load().waiting == 0)


class Pairs:
    """Two copies of a recogniser, each of which waits until both have a window."""

    limits = WindowLimits(parallel=2)

    def __init__(self) -> None:
        self._both = asyncio.Barrier(2)

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        async with asyncio.timeout(60):
            await self._both.wait()
        yield Segment(0.0, window.seconds, "words", "en")

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        raise NotImplementedError


async def test_one_recording_keeps_all_copies_of_the_recogniser_busy() -> None:
    clip, _ = spliced([(2.5, number) for number in range(4)])
    assert len(await heard(Pairs(), encode_wav(clip), FileRequest("en"))) == 4
