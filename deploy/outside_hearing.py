"""Parley's recognisers for a remote worker. A job's options have the same meaning as in the service.

All of them are supported: `model_id`, `language`, `prompt`, `words`, `translate`, `align`, `diarize` and the number of
speakers. Settings are the service's own (WHISPER_MODEL, WHISPER_DEVICE, MODELS_DIR, HF_TOKEN, …; docs/files.md).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.outside_worker import Hear
from jobs.run import Resident
from jobs.schema import Options
from pipeline.assistant import open_stt
from pipeline.audio.decode import Recording
from pipeline.settings import Settings
from pipeline.stt import Segment
from pipeline.stt.recognisers import open_recognisers
from pipeline.transcripts.long_files import Finished, Progress
from pipeline.transcripts.refine import open_refiners
from pipeline.transcripts.subtitles import segment_dict
from pipeline.transcripts.transcribe import Transcription
from pipeline.workers.hardware import this_machine


@asynccontextmanager
async def open_hearing(settings: Settings) -> AsyncIterator[Hear]:
    """Load the model of the settings; others are loaded when a job names them. Raises EngineUnavailable,
    EngineError."""
    hardware = await asyncio.to_thread(this_machine)
    async with (
        open_stt(settings) as own,
        open_recognisers(settings, own, hardware) as recognisers,
        open_refiners(settings) as refiners,
    ):
        here = Resident(recognisers, refiners)

        def hear(path: str, wanted: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
            return _heard(here, path, Options.of(wanted), settings)

        yield hear


async def _heard(
    here: Resident, path: str, options: Options, settings: Settings
) -> AsyncGenerator[dict[str, Any], None]:
    refining = options.refining()
    if refining is not None:
        await here.check(refining)
    with await asyncio.to_thread(Path(path).open, "rb") as file:

        def recording() -> Recording:
            file.seek(0)
            return Recording(file, max_seconds=settings.max_file_seconds, track=options.audio_track)

        segments: list[Segment] = []
        async with aclosing(here.transcribe(recording(), options.request(), options.model_id)) as events:
            async for event in events:
                match event:
                    case Segment():
                        segments.append(event)
                    case Progress():
                        yield {"done_s": event.done_s, "duration_s": event.total_s}
                    case Finished():
                        found = Transcription(segments, event.duration_s, event.language)
        if refining is not None:
            found = await here.refine(found, recording, refining)
    told = [segment_dict(one) for one in found.segments]
    yield {"result": {"language": found.language, "duration": found.duration_s, "segments": told}}
