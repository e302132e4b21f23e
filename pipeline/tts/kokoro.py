"""Kokoro-82M (hexgrad, Apache-2.0): neural speech on onnxruntime, without torch, in six languages.

It reads phonemes, which eSpeak NG gives in a separate process, and runs in a worker of its own.
"""

import asyncio
import importlib.metadata
import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline import tts
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import HOME, Settings
from pipeline.support import measurements, model_sources
from pipeline.support.model_catalogue import CATALOGUE
from pipeline.support.model_sources import FOLDER, Obtained
from pipeline.support.progress import Report
from pipeline.tts import espeak
from pipeline.tts.common import WorkerSpeech
from pipeline.tts.kokoro_engine import KokoroConfig
from pipeline.tts.kokoro_voices import LANGUAGES, built_in, choose, espeak_voice, find_voices
from pipeline.tts.phonemes import Phonemes, open_phonemes
from pipeline.voices.catalogue import Voice
from pipeline.workers import EngineSpec, Serving, Worker, open_worker
from pipeline.workers.hardware import this_machine

NAME = "kokoro-82m"
SHIPPED_VOICES = HOME / "voices" / "kokoro"
REAL_TIME = 0.9
"""Seconds of CPU for a second of sound, above which the machine is too slow for conversations."""


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable if a library is missing, or the model is neither here nor can be fetched."""
    await _check_installed(settings)
    if not settings.tts_model:
        await model_sources.check(settings, NAME)


async def _check_installed(settings: Settings) -> None:
    """Raise EngineUnavailable if a library or the folder in TTS_MODEL is missing."""
    await espeak.probe(settings)
    if importlib.util.find_spec("onnxruntime") is None:
        raise EngineUnavailable("onnxruntime is not installed.", remedy="pip install onnxruntime")
    folder = settings.tts_model
    missing = await asyncio.to_thread(CATALOGUE[NAME].missing, Path(folder)) if folder else []
    if missing:
        raise EngineUnavailable(
            f"There is no Kokoro model in {folder}.",
            remedy="Put model.onnx and vocab.json of Kokoro-82M there, or unset TTS_MODEL.",
        )


async def kokoro_model(settings: Settings, report: Report) -> Obtained:
    """Return the model of the settings, after fetching it if necessary. Raises EngineUnavailable."""
    if settings.tts_model:
        return Obtained(Path(settings.tts_model), FOLDER, CATALOGUE[NAME].licence)
    return await model_sources.obtain(settings, NAME, report)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["KokoroSpeech"]]:
    """Start Kokoro and eSpeak NG in their workers. Raises EngineUnavailable, also when `auto` finds the machine too
    slow, and EngineError."""
    await _check_installed(settings)
    origin = await kokoro_model(settings, report)
    folder = origin.folder
    files = await asyncio.to_thread(find_voices, [folder / "voices", SHIPPED_VOICES])
    if not files:
        raise EngineUnavailable("Kokoro has no voices.", remedy=f"Put its voices (NAME.bin) into {folder / 'voices'}.")
    config = KokoroConfig(str(folder.resolve()), str(next(iter(files.values())).resolve()))
    spec = EngineSpec("kokoro", "pipeline.tts.kokoro_engine:Kokoro", config)
    serving = Serving(tts.TIMEOUT_S, settings.tts_replicas)
    async with open_phonemes(settings) as phonemes, open_worker(spec, settings, serving) as worker:
        if settings.tts_engine == "auto":
            await _check_speed(worker, settings.models_dir, folder / "model.onnx")
        speech = KokoroSpeech(worker, phonemes, files)
        yield Opened(
            speech, "Kokoro-82M", "cpu", worker.load, list(LANGUAGES), voices=built_in(files), source=origin.source,
            licence=origin.licence,
        )  # fmt: skip


async def _check_speed(worker: Worker, models_dir: Path, model: Path) -> None:
    """Raise EngineUnavailable if this machine is too slow for the model. model: its ONNX file.

    The seconds of CPU for a second of sound are measured once. Only a sufficient speed is kept: a machine that was too
    slow may have been busy, so the next start measures again.
    """
    conditions = await asyncio.to_thread(_conditions, model)
    if await asyncio.to_thread(measurements.kept, models_dir, NAME, conditions) is not None:
        return
    cost = await worker.call("cost", REAL_TIME)
    if cost > REAL_TIME:
        raise EngineUnavailable(
            f"Kokoro needs {cost:.1f} s of CPU for a second of sound here, which is too slow for a conversation.",
            remedy="Set TTS_ENGINE=kokoro to use it all the same.",
        )
    await asyncio.to_thread(measurements.keep, models_dir, NAME, conditions, round(cost, 3))


def _conditions(model: Path) -> str:
    """Name everything that the speed depends on. Blocking. Raises OSError."""
    machine = this_machine()
    library = f"onnxruntime {importlib.metadata.version('onnxruntime')}"
    return f"{machine.cpu}, {machine.cores} cores, {library}, {model.name} of {model.stat().st_size} bytes"


class KokoroSpeech(WorkerSpeech):
    """See `pipeline.tts.TextToSpeech`. 24 kHz."""

    reads_ipa = True

    def __init__(self, worker: Worker, phonemes: Phonemes, files: Mapping[str, Path]) -> None:
        """files: voice of the model → its file, not empty."""
        super().__init__(worker, "Kokoro")
        self._phonemes = phonemes
        self._files = files

    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        code = voice.language(language)
        own = choose(voice, code, self._files)
        reader = espeak_voice(code, own)
        if reader is None:
            spoken = ", ".join(LANGUAGES)
            raise EngineError(f"Kokoro does not speak {code[:20]!r}, only {spoken}.", code="unsupported_language")
        speed = voice.engines.get("kokoro", {}).get("speed", 1.0)
        if not (isinstance(speed, int | float) and 0.5 <= speed <= 2):
            raise EngineError(f"The voice {voice.name} needs a Kokoro speed of 0.5 to 2.")
        phonemes = await self._phonemes.of(said, reader)
        return phonemes, str(self._files[own].resolve()), float(speed)

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        return language.partition("-")[0] in LANGUAGES
