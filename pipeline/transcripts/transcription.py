"""The transcript of a recording, its first segment, and the language of its beginning."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import Recording
from pipeline.listening.detector import RATE_HZ, SileroActivity
from pipeline.stt import Segment, SpeechToText, TellsLanguage
from pipeline.transcripts.long_files import Finished, Progress
from pipeline.transcripts.subtitles import text_of
from pipeline.transcripts.windows import Cutting, Windows
from pipeline.workers.caller import for_file


@dataclass(frozen=True, slots=True)
class Transcription:
    """The transcript of a recording."""

    segments: Sequence[Segment]
    duration_s: float
    language: str | None
    """ISO 639-1 code; None when nothing was said."""
    language_probability: float = 0.0
    model: str = ""
    """Display name of the recogniser's model: "base (int8)"."""

    @property
    def text(self) -> str:
        return text_of(self.segments)


def ignore(progress: Progress) -> None:
    """Discard progress reports."""


async def first_of(events: AsyncGenerator[object, None], first_s: float) -> Transcription:
    """Return the first segment, if there is one in the first `first_s` seconds of speech."""
    async for event in events:
        match event:
            case Segment():
                return Transcription([event], event.end_s, event.language, event.language_probability)
            case Progress(done_s, heard_s=heard_s) if heard_s >= first_s:
                return Transcription([], done_s, None)
            case Finished():
                return Transcription([], event.duration_s, None)
            case _:
                pass
    raise AssertionError("a transcription ends with Finished")


async def likeliest_language(stt: SpeechToText, recording: Recording, first_s: float) -> tuple[str | None, float]:
    """Return the likeliest language of the first `first_s` seconds of speech, wherever they are, and its probability.
    Without speech, that of the beginning. ISO 639-1; None: the recogniser cannot detect it.

    Raises as `pipeline.transcripts.long_files.transcribe_file` does.
    """
    if not isinstance(stt, TellsLanguage):
        return None, 0.0

    try:
        clip = await asyncio.to_thread(_speech, recording, first_s)
    finally:
        recording.stop()  # ends the thread and the process of a cancelled call at once
    with for_file(secrets.token_hex(8)):
        return await stt.language_of(clip)


def _speech(recording: Recording, first_s: float) -> Clip:
    """Return the first `first_s` seconds of speech, joined; without speech, of the recording. Blocking."""
    most = int(first_s * RATE_HZ)
    beginning = np.zeros(0, np.float32)
    speech: list[Samples] = []
    windows = Windows(SileroActivity(), Cutting(max_s=first_s))
    for block in recording.blocks():
        if len(beginning) < most:
            beginning = np.concatenate([beginning, block])
        speech += [window.samples for window in windows.feed(block)]
        if sum(map(len, speech)) >= most:
            break
    else:
        speech += [window.samples for window in windows.finish()]
    return Clip(np.concatenate(speech or [beginning])[:most], RATE_HZ)
