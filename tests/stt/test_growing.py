"""A recording that is transcribed while it comes in, when the recogniser has a bad day."""

import asyncio
from collections.abc import AsyncGenerator

from pipeline.audio import Clip
from pipeline.errors import WorkerCrashed
from pipeline.media import Recording
from pipeline.stt import FileRequest, Segment, Transcript, WindowLimits
from pipeline.stt.growing import GrowingFile, Partial, Whole, transcribe_growing
from pipeline.workers.scheduler import Urgency, current
from server.streaming import Incoming
from tests.clips import recording


class NoLooks:
    """Hears what is settled, and is lost over every look at speech that goes on."""

    limits = WindowLimits()

    def __init__(self) -> None:
        self.looks = 0

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        if current().urgency is Urgency.LATER:
            self.looks += 1
            raise WorkerCrashed("gone")
        yield Segment(0.0, window.seconds, "words")

    async def transcribe(self, clip: Clip, *, language: str | None, prompt: str | None, words: bool) -> Transcript:
        raise NotImplementedError


async def test_a_partial_result_that_fails_is_left_out() -> None:
    wav, truth = recording(0, 1, 2)
    file, stt = GrowingFile(), NoLooks()
    file.put(wav)
    file.end()
    told = [one async for one in transcribe_growing(stt, Recording(file, max_seconds=60), file, FileRequest("en"))]
    assert stt.looks > 0
    assert told[-1] == Whole(" ".join(["words"] * len(truth)))
    assert Partial("words") in told


async def test_a_live_pass_that_fails_leaves_the_recording_to_be_heard_as_a_whole() -> None:
    async def lost() -> str:
        raise WorkerCrashed("gone")

    incoming = Incoming()
    assert await incoming.heard_live() is None
    incoming.live = asyncio.create_task(lost())
    assert await incoming.heard_live() is None
    await incoming.close()
