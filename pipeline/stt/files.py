"""The long form of transcription: a recording of any length in, segments out as they are found.

The recording is decoded as a stream and cut at silence into windows that the engine can take; one window is decoded
ahead of the one being transcribed, and no more is ever held. Each window is a call of its own, less urgent than any
conversation's: a file of hours delays nobody's turn.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass, replace

from pipeline import observing
from pipeline.audio import Clip
from pipeline.channel import Channel
from pipeline.listening.detector import RATE_HZ, SileroActivity
from pipeline.listening.windows import Cutting, Window, Windows
from pipeline.media import Recording
from pipeline.stepping import in_threads
from pipeline.stt import FileRequest, Segment, SpeechToText, Word
from pipeline.workers.scheduler import Urgency, calling

STEP_S = 60.0
"""Decoding stops to look whether it is still wanted after so much sound without speech."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recording is transcribed."""

    done_s: float
    total_s: float | None
    """None when the file does not say how long it is."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: the recording is transcribed."""

    duration_s: float
    language: str | None
    """Of the first speech; None when nothing was said."""
    language_probability: float = 0.0


FileEvent = Segment | Progress | Finished


async def transcribe_file(
    stt: SpeechToText, recording: Recording, request: FileRequest, cutting: Cutting | None = None
) -> AsyncGenerator[FileEvent, None]:
    """Segments in order, Progress in between, Finished at the end. Closing the generator stops all work below it.

    cutting: None: as the engine wants it. Raises BadInput for a file that is no recording, EngineError, Overloaded.
    """
    language, probability, count = request.language, 0.0, 0
    heard = False
    session = secrets.token_hex(8)
    async with aclosing(_windows(recording, cutting or cutting_for(stt))) as windows:
        async for window in windows:
            if isinstance(window, Window):
                found = stt.segments(Clip(window.samples, RATE_HZ), replace(request, language=language))
                observing.TRANSCRIBED.inc(len(window.samples) / RATE_HZ)
                async with aclosing(found):
                    while (segment := await _next(found, session)) is not None:
                        placed = _placed(segment, window, count)
                        count += 1
                        if not heard:
                            heard, probability = True, segment.language_probability
                            language = language or segment.language
                        yield placed
            done_s = window.end / RATE_HZ if isinstance(window, Window) else window
            yield Progress(done_s, recording.duration_s)
    yield Finished(recording.samples / RATE_HZ, language if heard else request.language, probability)


async def _next(found: AsyncGenerator[Segment, None], session: str) -> Segment | None:
    # Around each step and not around the loop: a generator must not change the context of who reads from it.
    with calling(session=session, urgency=Urgency.FILE):
        return await anext(found, None)


def cutting_for(stt: SpeechToText, *, threshold: float = 0.5, vad: bool = True) -> Cutting:
    """As the engine wants its windows."""
    limits = stt.limits
    return Cutting(limits.max_s, limits.pause_s, limits.pad_s, threshold, vad)


async def _windows(recording: Recording, cutting: Cutting) -> AsyncGenerator[Window | float, None]:
    """Windows, and where decoding is when there is none for a while (seconds); one is made ahead."""
    made: Channel[Window | float] = Channel(1)
    making = asyncio.create_task(_make(recording, cutting, made))
    try:
        async for item in made:
            yield item
    finally:
        making.cancel()
        await asyncio.wait([making])


async def _make(recording: Recording, cutting: Cutting, made: Channel[Window | float]) -> None:
    try:
        async with aclosing(in_threads(_steps(recording, cutting))) as steps:
            async for step in steps:
                await made.send(step)
        made.close()
    except Exception as error:  # whatever it is, it is raised to who reads the channel
        made.close(error)


def _steps(recording: Recording, cutting: Cutting) -> Generator[Window | float, None, None]:
    """Blocking: each step decodes up to one window, or STEP_S of sound without speech."""
    windows = Windows(SileroActivity(), cutting)
    told = 0
    for block in recording.blocks():
        for window in windows.feed(block):
            told = recording.samples
            yield window
        if recording.samples - told >= STEP_S * RATE_HZ and windows.pending is None:
            told = recording.samples
            yield told / RATE_HZ
    yield from windows.finish()


def _placed(segment: Segment, window: Window, number: int) -> Segment:
    """On the recording's clock, in whole samples of the window's start: nothing adds up to a drift."""
    offset_s, end_s = window.start / RATE_HZ, window.end / RATE_HZ
    words = [
        Word(w.text, min(w.start_s + offset_s, end_s), min(w.end_s + offset_s, end_s), w.probability)
        for w in segment.words
    ]
    start_s = min(segment.start_s + offset_s, end_s)
    return replace(
        segment,
        start_s=start_s,
        end_s=max(start_s, min(segment.end_s + offset_s, end_s)),
        words=words,
        id=number,
        seek=window.start * 100 // RATE_HZ,
    )
