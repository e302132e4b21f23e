"""XTTS v2 (coqui-tts): clones a voice from a few seconds of recording, in 17 languages. An extra: torch and 2 GB.

The weights are under the Coqui Public Model License, for non-commercial use. They are downloaded only when
COQUI_TOS_AGREED accepts its terms. The model runs in a worker; this module does not import it.
"""

import importlib.util
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline import tts
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.installing import how_to_install
from pipeline.support.progress import Report
from pipeline.tts import xtts_weights
from pipeline.tts.common import WorkerSpeech
from pipeline.tts.xtts_config import XttsConfig
from pipeline.voices.catalogue import Voice
from pipeline.workers import EngineSpec, Serving, Worker, open_worker

DEFAULT_SPEAKER = "Ana Florence"
"""Used for a voice without a recording or a speaker."""


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable if it is not installed, or if the weights are missing and cannot be downloaded."""
    if any(importlib.util.find_spec(package) is None for package in ("TTS", "torch")):
        raise EngineUnavailable("coqui-tts is not installed.", remedy=how_to_install("xtts"))
    await xtts_weights.check(settings)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["XttsSpeech"]]:
    """Start XTTS in its worker, loaded and warmed up. Missing weights are downloaded first if that is allowed.

    Raises EngineUnavailable, EngineError.
    """
    await probe(settings)
    config = _config(settings, await xtts_weights.fetch(settings, report))
    spec = EngineSpec("xtts", "pipeline.tts.xtts_engine:Xtts", config)
    serving = Serving(tts.TIMEOUT_S, settings.tts_replicas)
    async with open_worker(spec, settings, serving) as worker:
        about = await worker.call("describe")
        kind = "int8" if about["int8"] else ""
        model = "XTTS v2 (int8)" if kind else "XTTS v2"
        speech = XttsSpeech(worker, about["languages"])
        yield Opened(speech, model, about["device"], worker.load, about["languages"], "XTTS v2", kind)


class XttsSpeech(WorkerSpeech):
    """See `pipeline.tts.TextToSpeech`. 24 kHz."""

    def __init__(self, worker: Worker, languages: Sequence[str]) -> None:
        """languages: codes of the model's languages, as XTTS writes them."""
        super().__init__(worker, "XTTS")
        self._languages = languages

    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        code = xtts_language(voice.language(language), self._languages)
        speaker = str(voice.engines.get("xtts", {}).get("speaker", DEFAULT_SPEAKER))
        clips = tuple(str(clip) for clip in voice.clips)
        return said, code, speaker, clips

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        return _code(language, self._languages) is not None


def _config(settings: Settings, folder: Path) -> XttsConfig:
    return XttsConfig(
        folder=str(folder),
        latents_dir=str((settings.models_dir / "latents").resolve()),
        device=settings.tts_device,
        precision=settings.tts_precision,
    )


def xtts_language(wanted: str, languages: Sequence[str]) -> str:
    """Return XTTS's code for a language: the same, without its region, or with the region that XTTS has (zh: zh-cn).

    Raises EngineError (unsupported_language).
    """
    code = _code(wanted, languages)
    if code is None:
        raise EngineError(f"XTTS does not speak {wanted[:20]!r}.", code="unsupported_language")
    return code


def _code(wanted: str, languages: Sequence[str]) -> str | None:
    plain = wanted.partition("-")[0]
    candidates = (wanted, plain, *(code for code in languages if code.partition("-")[0] == plain))
    return next((code for code in candidates if code in languages), None)
