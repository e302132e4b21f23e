"""Opens the aligner for a language, and downloads its model if necessary."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.audio.clip import Clip
from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt import Word
from pipeline.support.installing import how_to_install
from pipeline.support.model_hub import Hub
from pipeline.support.progress import Progress
from pipeline.transcripts.alignment import MODELS, Aligner
from pipeline.transcripts.alignment.ctc import CtcConfig
from pipeline.workers import EngineSpec, Serving, Worker, open_worker

NEEDED = ("config.json", "vocab.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
SILENCE_S = 120.0
"""Timeout for one sentence, in seconds."""


class WorkerAligner:
    """See `Aligner`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def align(self, clip: Clip, text: str) -> Sequence[Word]:
        words: Sequence[Word] = await self._worker.call("align", clip, text)
        return words


def missing_libraries() -> list[str]:
    """Return those libraries of aligners that are not installed."""
    return [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]


@asynccontextmanager
async def open_aligner(settings: Settings, language: str) -> AsyncIterator[Aligner]:
    """Open the aligner of a language, downloading its model if it is missing. Raises EngineUnavailable, EngineError."""
    if missing := missing_libraries():
        raise EngineUnavailable(
            f"{' and '.join(missing)} is not installed.",
            remedy=f"Install the extra `align`: {how_to_install('align')}.",
        )
    folder = await _folder(settings, language)
    config = CtcConfig(str(folder), "cpu", 1)
    spec = EngineSpec(f"align-{language}", "pipeline.transcripts.alignment.ctc:CtcEngine", config)
    async with open_worker(spec, settings, Serving(SILENCE_S)) as worker:
        yield WorkerAligner(worker)


async def _folder(settings: Settings, language: str) -> Path:
    name = settings.align_model or MODELS.get(language)
    if name is None:
        raise EngineUnavailable(f"There is no alignment model for {language!r}.", remedy="Name one with ALIGN_MODEL.")
    if (here := await asyncio.to_thread(_here, settings, name)) is not None:
        return here
    hub = Hub.of(settings)
    await hub.check(name)
    files = await hub.files(name, lambda file: file in NEEDED or file in WEIGHTS)
    there = {file.name for file in files}
    if not there.issuperset(NEEDED) or there.isdisjoint(WEIGHTS):
        raise EngineUnavailable(
            f"{name} is not a wav2vec2 model with a vocabulary.", remedy="Name one with ALIGN_MODEL."
        )
    # Both formats hold the same weights; safetensors is the safe one.
    chosen = [file for file in files if file.name != "pytorch_model.bin" or "model.safetensors" not in there]
    folder = settings.models_dir / name.replace("/", "--")
    await hub.fetch(name, chosen, folder, _ignore)
    return folder.absolute()


def _here(settings: Settings, name: str) -> Path | None:
    """Find the model on disk: `name` as a path, in MODELS_DIR, or where a download of it is stored."""
    places = (Path(name).expanduser(), settings.models_dir / name, settings.models_dir / name.replace("/", "--"))
    return next((place.absolute() for place in places if _complete(place)), None)


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in NEEDED) and any((folder / name).is_file() for name in WEIGHTS)


def _ignore(progress: Progress) -> None:
    """Drop progress reports: the model is downloaded during a request, which has no way to pass them on."""
