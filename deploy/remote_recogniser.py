"""Parley's recognisers for a remote worker. A job's options have the same meaning as in the service.

All of them are supported: `model_id`, `language`, `prompt`, `words`, `translate`, `align`, `diarize` and the number of
speakers. Settings are the service's own (WHISPER_MODEL, WHISPER_DEVICE, MODELS_DIR, HF_TOKEN, …; docs/files.md).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.remote_worker import Transcribe
from jobs.job import Options
from pipeline.assistant import open_stt
from pipeline.settings import Settings
from pipeline.transcripts.long_files import Progress
from pipeline.transcripts.subtitles import segment_dict
from pipeline.transcripts.transcriber import Transcriber, open_transcriber
from pipeline.transcripts.transcription import Transcription


@asynccontextmanager
async def open_recogniser(settings: Settings) -> AsyncIterator[Transcribe]:
    """Load the model of the settings; others are loaded when a job names them. Raises EngineUnavailable,
    EngineError."""
    async with open_stt(settings) as own, open_transcriber(settings, own) as transcriber:

        def transcribe(path: str, wanted: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
            return _heard(transcriber, path, Options.of(wanted))

        yield transcribe


async def _heard(transcriber: Transcriber, path: str, options: Options) -> AsyncGenerator[dict[str, Any], None]:
    with await asyncio.to_thread(Path(path).open, "rb") as file:
        async with aclosing(transcriber.events(file, options.request())) as events:
            async for event in events:
                match event:
                    case Progress():
                        yield {"done_s": event.done_s, "duration_s": event.total_s}
                    case Transcription():
                        found = event
                    case _:
                        pass
    told = [segment_dict(one) for one in found.segments]
    yield {"result": {"language": found.language, "duration": found.duration_s, "segments": told}}
