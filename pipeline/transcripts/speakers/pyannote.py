"""Diarization with pyannote.audio's pipeline: the most accurate, but gated. Needs the package, and an HF_TOKEN whose
owner has accepted the model's terms (CC BY 4.0)."""

import importlib.util
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording
from pipeline.engines import Opened
from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.progress import Report
from pipeline.support.storage_errors import TEMPORARY, storing
from pipeline.support.threads import in_threads
from pipeline.transcripts.speakers import Diarizer, HowMany, KnownSpeaker, SpeakerTurn, letter
from pipeline.workers import EngineSpec, Serving, Worker, open_worker
from pipeline.workers.caller import for_file

MODEL = "pyannote/speaker-diarization-community-1"
RATE_HZ = 16_000
WRITE_S = 10.0
"""Seconds of audio written in one step."""
SILENCE_S = 3600.0
"""Timeout for one model call, in seconds: it handles a whole recording."""


@dataclass(frozen=True, slots=True)
class PyannoteConfig:
    model: str
    token: str


class PyannoteEngine:
    """The synchronous engine."""

    def __init__(self, config: PyannoteConfig) -> None:
        os.environ["PYANNOTE_METRICS_ENABLED"] = "0"  # its telemetry is on by default
        from pyannote.audio import Pipeline

        self._pipeline = Pipeline.from_pretrained(config.model, token=config.token or None)
        if self._pipeline is None:
            raise EngineUnavailable(f"{config.model} cannot be loaded.", remedy="Accept its terms; set HF_TOKEN.")

    def turns(self, path: str, least: int | None, most: int | None) -> list[tuple[float, float, str]]:
        """Return (start, end, label) of each turn, without overlaps. path: raw 16-bit mono samples at RATE_HZ."""
        import torch

        samples = np.memmap(path, "<i2", "r").astype(np.float32) / 32768.0
        sound = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE_HZ}
        told = self._pipeline(sound, min_speakers=least, max_speakers=most)
        annotation = getattr(told, "exclusive_speaker_diarization", None) or told
        return [(float(turn.start), float(turn.end), str(label)) for turn, _, label in annotation.itertracks(True)]


class PyannoteDiarizer:
    """See `Diarizer`."""

    recognises = False

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def turns(
        self, recording: Callable[[], Recording], how_many: HowMany, known: Sequence[KnownSpeaker] = ()
    ) -> list[SpeakerTurn]:
        """See the Protocol. The whole recording is in the worker's memory."""
        with tempfile.NamedTemporaryFile(suffix=".pcm") as file:
            opened = recording()
            async with aclosing(in_threads(_write(opened, file), opened.stop)) as steps:
                async for _ in steps:
                    pass
            with for_file():
                told = await self._worker.call("turns", file.name, how_many.least, how_many.most)
        names: dict[str, str] = {}
        return [SpeakerTurn(start, end, names.setdefault(label, letter(len(names)))) for start, end, label in told]


def _write(recording: Recording, file: IO[bytes]) -> Generator[int, None, None]:
    """Write the samples step by step, so that the caller can stop in between. Blocks."""
    for block in recording.blocks(WRITE_S):
        with storing(TEMPORARY):
            written = file.write(Clip(block, RATE_HZ).pcm16())
        yield written
    with storing(TEMPORARY):
        file.flush()


def installed() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("pyannote") is not None and importlib.util.find_spec("pyannote.audio") is not None


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable when the package or a token is missing."""
    if not installed():
        raise EngineUnavailable("pyannote.audio is not installed.", remedy="Run `pip install pyannote.audio`.")
    if not settings.hf_token:
        raise EngineUnavailable(f"{MODEL} is gated.", remedy="Accept its terms on the hub and set HF_TOKEN.")


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[Diarizer]]:
    """Download and load the pipeline in a worker."""
    await probe(settings)
    spec = EngineSpec(
        "pyannote",
        "pipeline.transcripts.speakers.pyannote:PyannoteEngine",
        PyannoteConfig(MODEL, settings.hf_token),
        downloads=True,
    )
    async with open_worker(spec, settings, Serving(SILENCE_S)) as worker:
        yield Opened(PyannoteDiarizer(worker), MODEL, "auto", worker.load)
