"""pocket-tts (Kyutai, MIT): neural speech made for CPUs, in seven languages, with voice cloning. An extra.

Each language has a model. The one for SPEECH_LANGUAGE (else English) is loaded at the start, the others when they are
first needed. The weights come from the model hub, or from the paths in the YAML of TTS_MODEL. The models run in a
worker.
"""

import asyncio
import importlib.util
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from pipeline import tts
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.support.installing import how_to_install
from pipeline.support.progress import Report
from pipeline.tts.common import WorkerSpeech
from pipeline.tts.pocket_config import MODELS, PocketConfig
from pipeline.voices.catalogue import DEFAULT_LANGUAGE, Voice
from pipeline.workers import START_TIMEOUT_S, EngineSpec, Serving, Worker, open_worker

HUB_TIMEOUT_S = 0.8
"""Timeout for the check that the hub is reachable."""
WEIGHTS = re.compile(r"^weights_path(?:_without_voice_cloning)?: hf://([^/\s]+/[^/\s]+)/([^@\s]+)@(\w+)", re.MULTILINE)
"""Matches a model's weights in its YAML: repository, file, revision."""


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable if it is not installed, or if the weights are missing and the hub is unreachable."""
    configs = _configs()
    if configs is None or importlib.util.find_spec("torch") is None:
        raise EngineUnavailable("pocket-tts is not installed.", remedy=how_to_install("pocket"))
    if settings.tts_model:
        if not _is_file(settings.tts_model):
            raise EngineUnavailable(
                "TTS_MODEL is not a file.", remedy="Set it to a pocket-tts YAML, or leave it empty."
            )
        return
    config = configs / f"{MODELS[_first(settings)]}.yaml"
    if await asyncio.to_thread(_is_cached, config, _hub_cache(settings)):
        return
    if settings.hub_offline or not await _hub_answers(settings):
        raise EngineUnavailable(
            "pocket-tts's weights are missing and the model hub does not respond.",
            remedy="Connect to the internet once, or set TTS_MODEL to a YAML with local paths.",
        )


async def _hub_answers(settings: Settings) -> bool:
    try:
        async with httpx.AsyncClient(timeout=HUB_TIMEOUT_S) as client:
            await client.head(settings.hf_endpoint)
    except httpx.HTTPError:
        return False
    return True


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened["PocketSpeech"]]:
    """Start pocket-tts in its worker, with its first model loaded. Raises EngineUnavailable, EngineError."""
    await probe(settings)
    config = _config(settings)
    languages = [] if config.config else await asyncio.to_thread(_available, settings)
    spec = EngineSpec("pocket", "pipeline.tts.pocket_engine:Pocket", config, downloads=True)
    # A model call can include loading the model of another language.
    serving = Serving(max(tts.TIMEOUT_S, START_TIMEOUT_S), settings.tts_replicas)
    async with open_worker(spec, settings, serving) as worker:
        speech = PocketSpeech(
            worker,
            config.first,
            START_TIMEOUT_S,
            languages=languages,
        )
        name = Path(config.config).stem if config.config else MODELS[config.first]
        model, kind = f"pocket-tts {name}", "int8" if config.int8 else ""
        shown = f"{model} ({kind})" if kind else model
        yield Opened(speech, shown, config.device, worker.load, languages, model, kind)


class PocketSpeech(WorkerSpeech):
    """See `pipeline.tts.TextToSpeech`. 24 kHz."""

    def __init__(self, worker: Worker, first: str, load_timeout_s: float, *, languages: Sequence[str]) -> None:
        """first: the language that is loaded. languages: those with weights here or on the hub; empty: one model speaks
        all languages."""
        super().__init__(worker, "pocket-tts")
        self._first = first
        self._loaded = {first}
        self._load_timeout_s = load_timeout_s
        self._any_language = not languages
        self._languages = set(languages)

    async def _request(self, said: str, voice: Voice, language: str | None) -> tuple[object, ...]:
        code = self._first if self._any_language else voice.language(language).partition("-")[0]
        if code not in MODELS:
            raise EngineError(f"pocket-tts does not speak {code[:20]!r}.", code="unsupported_language")
        await self._load(code)
        own = voice.engines.get("pocket", {})
        builtin = str(own.get(code, own.get("voice", "")))
        return said, code, builtin, tuple(str(clip) for clip in voice.clips)

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        plain = language.partition("-")[0]
        return plain == self._first if self._any_language else plain in self._languages

    async def _load(self, code: str) -> None:
        """Load a language's model; the first time can take as long as the worker's start."""
        if code in self._loaded:
            return
        try:
            async with asyncio.timeout(self._load_timeout_s):
                await self._worker.call("load", code)
        except TimeoutError:
            self._languages.discard(code)  # texts in it are spoken in the conversation's language from now on
            raise EngineError(f"pocket-tts did not load {MODELS[code]} in time.", code="timeout") from None
        except EngineError:
            self._languages.discard(code)
            raise
        self._loaded.add(code)


def _config(settings: Settings) -> PocketConfig:
    return PocketConfig(
        config=str(Path(settings.tts_model).resolve()) if settings.tts_model else "",
        first=_first(settings),
        hub_cache=str(_hub_cache(settings).resolve()),
        hub=settings.hf_endpoint,
        hub_token=settings.hf_token,
        offline=settings.hub_offline,
        # It is made for CPUs and as fast there: use a GPU only when the setting says so.
        device="cuda" if settings.tts_device == "cuda" else "cpu",
        int8=settings.tts_precision == "int8",
    )


def _available(settings: Settings) -> list[str]:
    """Return the languages whose weights are in the hub's cache, or all if the hub may be asked. Blocking."""
    if not settings.hub_offline:
        return list(MODELS)
    folder, cache = _configs(), _hub_cache(settings)
    return [code for code, name in MODELS.items() if folder and _is_cached(folder / f"{name}.yaml", cache)]


def _configs() -> Path | None:
    """Return the library's folder of YAMLs; None if it is not installed."""
    spec = importlib.util.find_spec("pocket_tts")
    return Path(spec.submodule_search_locations[0], "config") if spec and spec.submodule_search_locations else None


def _first(settings: Settings) -> str:
    code = settings.speech_language.lower().partition("-")[0]
    return code if code in MODELS else DEFAULT_LANGUAGE


def _hub_cache(settings: Settings) -> Path:
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    if "HF_HOME" in os.environ:
        return Path(os.environ["HF_HOME"], "hub")
    return settings.models_dir / "hub"


def _is_file(path: str) -> bool:
    return Path(path).is_file()


def _is_cached(config: Path, cache: Path) -> bool:
    """Whether the weights in a model's YAML, with cloning or without, are in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    found = WEIGHTS.findall(config.read_text("utf-8"))
    return any(
        isinstance(try_to_load_from_cache(repository, file, cache_dir=cache, revision=revision), str)
        for repository, file, revision in found
    )
