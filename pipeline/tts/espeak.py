"""eSpeak NG: starts at once, runs everywhere and speaks over a hundred languages. The fallback of the other engines.

The library is GPL-3, so it runs in a separate process (see `espeak_engine.py`), never inside the service.
"""

import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pipeline import tts
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.progress import Report
from pipeline.tts.common import WorkerSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers import EngineSpec, Serving, Worker, open_worker

PREFERRED = {"en": "en-us", "pt": "pt-br", "zh": "cmn", "iw": "he", "nn": "nb", "sh": "hr"}
"""Variant that a plain language code stands for, where eSpeak's own order would choose another."""
DEFAULT_VARIANT = "m3"
"""Used for a voice without a setting for eSpeak."""
DEFAULT_SPEED_WPM, DEFAULT_PITCH = 165, 50
"""Words per minute, and pitch on eSpeak's scale of 0 to 99; a voice's `speed` and `pitch` replace them."""


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable when the library is not installed."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise EngineUnavailable("eSpeak NG is not installed.", remedy="pip install espeakng-loader")


def spec() -> EngineSpec:
    """Describe the engine to its worker."""
    return EngineSpec("espeak", "pipeline.tts.espeak_engine:Espeak", None)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["EspeakSpeech"]]:
    """Start eSpeak in its worker. Raises EngineUnavailable, or EngineError when the library does not start."""
    await probe(settings)
    serving = Serving(tts.TIMEOUT_S, settings.tts_replicas)
    async with open_worker(spec(), settings, serving) as worker:
        codes, version = await worker.call("describe")
        speech = EspeakSpeech(worker, codes)
        yield Opened(speech, f"eSpeak NG {version}", "cpu", worker.load, sorted(codes))


class EspeakSpeech(WorkerSpeech):
    """See `pipeline.tts.TextToSpeech`. 22,050 Hz."""

    def __init__(self, worker: Worker, codes: Mapping[str, str]) -> None:
        """codes: each language code that eSpeak knows → the name of its voice."""
        super().__init__(worker, "eSpeak")
        self._codes = codes

    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        name = espeak_voice(voice, language, self._codes)
        own = voice.engines.get("espeak", {})
        speed, pitch = own.get("speed", DEFAULT_SPEED_WPM), own.get("pitch", DEFAULT_PITCH)
        if not (isinstance(speed, int) and 80 <= speed <= 450 and isinstance(pitch, int) and 0 <= pitch <= 99):
            raise EngineError(f"The voice {voice.name} needs an eSpeak speed of 80 to 450 and a pitch of 0 to 99.")
        return said, name, speed, pitch

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        return _listed(language, self._codes) is not None


def espeak_voice(voice: Voice, language: str | None, codes: Mapping[str, str]) -> str:
    """Return the eSpeak voice (language+variant) for `voice` in `language`.

    The voice's own entry for the language comes first; then eSpeak's voice for the language, or for the language
    without its region, with the voice's variant. Raises EngineError (unsupported_language).
    """
    own = {
        key: name for key, name in voice.engines.get("espeak", {}).items() if key not in ("variant", "speed", "pitch")
    }
    variant = voice.engines.get("espeak", {}).get("variant", DEFAULT_VARIANT)
    wanted = voice.language(language)
    plain = wanted.partition("-")[0]
    if wanted in own:
        return str(own[wanted])
    if wanted != plain and wanted in codes:
        return f"{codes[wanted]}+{variant}"
    if plain in own:
        return str(own[plain])
    if (listed := _listed(plain, codes)) is not None:
        return f"{listed}+{variant}"
    raise EngineError(f"eSpeak does not speak {wanted[:20]!r}.", code="unsupported_language")


def _listed(language: str, codes: Mapping[str, str]) -> str | None:
    """Return the name of the voice that eSpeak lists for a language, or for the language without its region."""
    plain, region, _ = language.partition("-")
    exact = language if region else ""
    return next((codes[code] for code in (exact, PREFERRED.get(plain, ""), plain) if code in codes), None)
