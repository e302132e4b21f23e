"""A recording that is transcribed while it arrives, with a failing recogniser."""

import asyncio
from collections.abc import AsyncGenerator

from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording
from pipeline.errors import WorkerCrashed
from pipeline.stt import FileRequest, Hinted, Segment, Spoken, Transcript, WindowLimits
from pipeline.transcripts.growing import GrowingFile, Partial, Whole, transcribe_growing
from pipeline.workers.caller import Urgency, current
from server.transcribe.streaming import Incoming
from tests.clips import recording


class NoLooks:
    """Transcribes settled windows, and fails on every partial pass over unfinished speech."""

    limits = WindowLimits()

    def __init__(self) -> None:
        self.looks = 0

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        if current().urgency is Urgency.LATER:
            self.looks += 1
            raise WorkerCrashed("gone")
        yield Segment(0.0, window.seconds, "words")

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        raise NotImplementedError


async def test_a_failed_partial_result_is_left_out() -> None:
    wav, truth = recording(0, 1, 2)
    file, stt = GrowingFile(), NoLooks()
    file.put(wav)
    file.end()
    told = [one async for one in transcribe_growing(stt, Recording(file, max_seconds=60), file, FileRequest("en"))]
    assert stt.looks > 0
    assert told[-1] == Whole(" ".join(["words"] * len(truth)))
    assert Partial("words") in told


async def test_after_a_failed_live_pass_the_whole_recording_is_transcribed() -> None:
    async def lost() -> str:
        raise WorkerCrashed("gone")

    incoming = Incoming()
    assert await incoming.heard_live() is None
    incoming.live = asyncio.create_task(lost())
    assert await incoming.heard_live() is None
    await incoming.close()
