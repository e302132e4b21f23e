"""Transcription of long files: takes a recording of any length, yields segments as they are found.

The recording is decoded as a stream and cut at silence into windows that the engine accepts. One window is decoded
ahead of those being transcribed; no more is held in memory. Each window is a separate call, less urgent than any
conversation's, so that a file of hours delays no turn.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass, replace

from pipeline.audio.decode import Recording
from pipeline.listening.detector import RATE_HZ, SileroActivity
from pipeline.stt import FileRequest, Segment, SpeechToText
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.support.threads import in_threads
from pipeline.telemetry import metrics
from pipeline.transcripts.window_calls import UnderWay
from pipeline.transcripts.window_times import placed
from pipeline.transcripts.windows import Cutting, Packing, Window, Windows

STEP_S = 60.0
"""Seconds of sound without speech after which decoding checks whether it is cancelled."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the transcription of a recording has come."""

    done_s: float
    total_s: float | None
    """None when the file does not state its length."""
    heard_s: float = 0.0
    """Seconds of speech sent to the recogniser so far."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: the whole recording is transcribed."""

    duration_s: float
    language: str | None
    """Language of the first speech; None without speech."""
    language_probability: float = 0.0


FileEvent = Segment | Progress | Finished


async def transcribe_file(
    stt: SpeechToText, recording: Recording, request: FileRequest, cutting: Cutting | None = None
) -> AsyncGenerator[FileEvent, None]:
    """Yield Segments in order, Progress in between, Finished at the end. Closing the generator stops all work below it.

    Without a language in the request, each window is in the language that is detected in it, and if the detection is
    not certain, in that of the first speech. cutting: None: the engine's own. Raises BadInput for a file that is not a
    recording, EngineError, Overloaded.
    """
    probability, count = 0.0, 0
    heard, heard_s = False, 0.0
    cutting = cutting or cutting_for(stt)
    if request.language is None:
        cutting = replace(cutting, pack=False)  # utterances that share a window could be in different languages
    under_way = UnderWay(stt, request)
    async with aclosing(_windows(recording, cutting)) as windows, aclosing(under_way.results(windows)) as results:
        async for step, segments in results:
            if isinstance(step, Window):
                metrics.TRANSCRIBED.inc(len(step.samples) / RATE_HZ)
                heard_s += len(step.samples) / RATE_HZ
                async for found in segments:
                    if not heard:
                        heard, probability = True, found.language_probability
                        under_way.speaks(found.language)
                    for segment in placed(found, step, request.words):
                        yield replace(segment, id=count)
                        count += 1
            done_s = step.end / RATE_HZ if isinstance(step, Window) else step
            yield Progress(done_s, recording.duration_s, heard_s)
    yield Finished(recording.samples / RATE_HZ, under_way.language if heard else request.language, probability)


def cutting_for(stt: SpeechToText, *, threshold: float = 0.5, vad: bool = True) -> Cutting:
    """Return the engine's parameters for cutting windows."""
    limits = stt.limits
    return Cutting(limits.max_s, limits.pause_s, limits.pad_s, threshold, vad, limits.pack)


async def _windows(recording: Recording, cutting: Cutting) -> AsyncGenerator[Window | float, None]:
    """Yield windows, and while there is none for a while, the decoder's position in seconds. One is made ahead."""
    made: Channel[Window | float] = Channel(1)
    async with background(_make(recording, cutting, made)):
        async for item in made:
            yield item


async def _make(recording: Recording, cutting: Cutting, made: Channel[Window | float]) -> None:
    try:
        async with aclosing(in_threads(_steps(recording, cutting), recording.stop)) as steps:
            async for step in steps:
                await made.send(step)
        made.close()
    except Exception as error:  # any error is raised in the reader of the channel
        made.close(error)


def _steps(recording: Recording, cutting: Cutting) -> Generator[Window | float, None, None]:
    """Decode up to one window, or STEP_S of sound without speech, in each step. Blocking."""
    windows, packing = Windows(SileroActivity(), cutting), Packing(cutting.max_s if cutting.pack else 0.0)
    told = 0
    for block in recording.blocks():
        for window in windows.feed(block):
            for packed in packing.add(window):
                told = recording.samples
                yield packed
        if recording.samples - told >= STEP_S * RATE_HZ and windows.pending is None:
            told = recording.samples
            yield (told if packing.start is None else packing.start) / RATE_HZ
    for window in windows.finish():
        yield from packing.add(window)
    yield from packing.finish()
