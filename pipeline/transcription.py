"""A recording and what is wanted of it, into a transcript: segments, words that have times, and who said what."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pipeline.listening.windows import Cutting
from pipeline.media import Recording
from pipeline.stt import FileRequest, Segment, SpeechToText
from pipeline.stt.files import Finished, Progress, transcribe_file
from pipeline.subtitles import text_of


@dataclass(frozen=True, slots=True)
class Transcription:
    """All that was said in a recording."""

    segments: Sequence[Segment]
    duration_s: float
    language: str | None
    """ISO 639-1; None when nothing was said."""
    language_probability: float = 0.0
    model: str = ""
    """Who heard it, for people: "base (int8)"."""

    @property
    def text(self) -> str:
        return text_of(self.segments)


def ignore(progress: Progress) -> None:
    """The report of who does not want to know."""


async def transcription(
    stt: SpeechToText,
    recording: Recording,
    request: FileRequest,
    cutting: Cutting | None = None,
    report: Callable[[Progress], None] = ignore,
) -> Transcription:
    """The whole transcript. Raises as `pipeline.stt.files.transcribe_file` does; cancelled, it stops all its work."""
    async with aclosing(transcribe_file(stt, recording, request, cutting)) as events:
        return await collected(events, report)


async def collected(
    events: AsyncGenerator[Segment | Progress | Finished, None], report: Callable[[Progress], None] = ignore
) -> Transcription:
    """The transcript that a stream of events makes."""
    segments: list[Segment] = []
    async for event in events:
        match event:
            case Segment():
                segments.append(event)
            case Progress():
                report(event)
            case Finished():
                return Transcription(segments, event.duration_s, event.language, event.language_probability)
    raise AssertionError("a transcription ends with Finished")


async def first_of(events: AsyncGenerator[Segment | Progress | Finished, None], first_s: float) -> Transcription:
    """What is found first, at most in the first so many seconds of the recording."""
    async for event in events:
        match event:
            case Segment():
                return Transcription([event], event.end_s, event.language, event.language_probability)
            case Progress(done_s) if done_s >= first_s:
                return Transcription([], done_s, None)
            case Finished():
                return Transcription([], event.duration_s, None)
            case _:
                pass
    raise AssertionError("a transcription ends with Finished")
