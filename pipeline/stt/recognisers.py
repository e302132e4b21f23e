"""The recognisers of a deployment: the one that conversations use, which is always loaded, and those that requests
name, which are loaded on demand and stay while there is memory (`pipeline.workers.residents`).

A client can ask for:

- no name, the name of the loaded model, or one of OpenAI's names, with or without a date: the loaded model;
- an id of `GET /models`, a size of Whisper, or the hub's name of either: that model, from this machine or the hub;
- a folder in MODELS_DIR: the model in it. Other names and paths are never looked up.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from pipeline.engines import Running, open_named
from pipeline.errors import BadInput, EngineError, EngineUnavailable
from pipeline.languages import language_code, plain_code
from pipeline.settings import Settings
from pipeline.stt import ENGINES, TAKES_HINTS, FileRequest, SpeechToText, weights
from pipeline.stt.home_names import AtHome, at_home
from pipeline.stt.lacking import REMEDY, refusal
from pipeline.stt.models import Runnable, needed_mb, runnable
from pipeline.support import openai_names
from pipeline.workers.hardware import Hardware
from pipeline.workers.residents import DoesNotFit, Residents

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""Seconds after which a model that failed to load is tried again: each attempt takes seconds."""
FOLDER = re.compile(r"[\w][\w.\- ]{0,199}")
"""A folder's name in MODELS_DIR; cannot point outside of it."""


class UnknownModel(BadInput):
    """The requested name belongs to no model here."""

    code = "model_not_found"


@dataclass(frozen=True, slots=True)
class Model:
    """A recogniser that can be requested."""

    name: str
    """Identical for all names of the same model."""
    settings: Settings | None
    """Settings to open it with; None: the loaded model."""
    mb: int = 0
    """Estimated memory."""


class Recognisers:
    """Recognisers by name: see the module's docstring. One object for the process; open it with `open_recognisers`."""

    def __init__(self, settings: Settings, own: Running[SpeechToText], hardware: Hardware) -> None:
        """own: the recogniser that is always loaded."""
        self.hardware = hardware
        self._settings = settings
        self._own = own
        on_gpu = settings.whisper_device != "cpu" and hardware.cuda
        # A driver that does not report its memory leaves the decision to the loading.
        room_mb = (hardware.gpu_memory_mb or 1_000_000) * 4 // 5 if on_gpu else hardware.memory_mb // 2
        kept_mb = self._own_mb() if own.info.engine == "whisper" else 0
        most_mb = settings.model_memory_mb or room_mb
        self.residents: Residents[Running[SpeechToText]] = Residents(most_mb, kept_mb, RETRY_S)
        self._alone = most_mb - kept_mb < self._mb("tiny")
        """Whether no other model fits."""

    @property
    def runnable(self) -> Sequence[Runnable]:
        """The models of the table (`pipeline.stt.models`) that can be requested."""
        if self._alone:
            return ()
        # With WHISPER_DEVICE=cpu the GPU is left to other programs.
        return runnable(replace(self.hardware, gpus=()) if self._settings.whisper_device == "cpu" else self.hardware)

    def own_names(self) -> list[str]:
        """Names of the loaded model, its own names first."""
        info = self._own.info
        own = [name for name in (info.name, info.engine) if name]
        if info.engine == "whisper":
            own.append(self._own_model)
            if info.name in weights.sizes():
                own += [f"whisper-{info.name}", weights.hub_name(info.name)]
        return list(dict.fromkeys([*own, *openai_names.MODELS["stt"]]))

    def names(self) -> list[str]:
        """All names to choose from, except sizes that would have to be downloaded first. Looks at the disk."""
        return list(dict.fromkeys([*self.own_names(), *(one.choice.id for one in self.runnable), *self.here()]))

    def here(self) -> list[str]:
        """Sizes whose weights are on this machine, and the folders in MODELS_DIR. Looks at the disk."""
        if self._alone:
            return []
        return [*(size for size in weights.sizes() if self._here(size)), *weights.folders(self._settings)]

    def is_loaded(self, model: Model) -> bool:
        """Whether the model is in memory or being loaded."""
        return model.settings is None or model.name in self.residents.loaded

    def find(self, name: str | None) -> Model:
        """Return the model of this name. Looks at the disk. Raises UnknownModel."""
        asked = (name or "").strip()
        if not asked or asked.lower() in {own.lower() for own in self.own_names()}:
            return Model(self._own.info.model, None)
        model = None if self._alone else self._other(asked)
        if model is None and openai_names.known_as(asked, self.own_names()):
            return Model(self._own.info.model, None)
        if model is None:
            raise UnknownModel(f"Unknown model {asked[:60]!r}; available: {', '.join(self._told())}.")
        return model

    def engine_of(self, name: str | None) -> str:
        """The engine and model of this name ("whisper: base (int8)"). Results of different ones are different results.

        Raises UnknownModel.
        """
        model = self.find(name)
        return f"{self._engine(model)}: {model.name}"

    def takes_hints(self, name: str | None) -> bool:
        """Whether prompts and keywords have an effect with the model of this name. Raises UnknownModel."""
        return self._engine(self.find(name)) in TAKES_HINTS

    def languages_of(self, name: str | None) -> Sequence[str]:
        """Return the languages (ISO 639-1) that the model of this name understands, as far as it is known without
        loading it; empty: unknown. Raises UnknownModel."""
        model = self.find(name)
        return self._own.info.languages if model.settings is None else languages_named(model.settings.whisper_model)

    def check(self, name: str | None, request: FileRequest) -> None:
        """Check that the model of this name understands the request's language, and can translate if it is to, as far
        as it is known without loading it. Raises UnknownModel, BadInput (unsupported_language)."""
        model, known = self.find(name), self.languages_of(name)
        asked = [request.language] if request.language else list(request.languages)
        if (message := refusal(f"The model {model.name}", known, asked)) is not None:
            param = "language" if request.language else "languages"
            raise BadInput(message, code="unsupported_language", param=param)
        own = model.settings is None
        if request.translate and own and not self._own.translates and [plain_code(one) for one in asked] != ["en"]:
            message = f"The model {model.name} cannot translate. {REMEDY}"
            raise BadInput(message, code="unsupported_language", param="model")

    def heard_language(self, value: str | None) -> str | None:
        """Return the code of a language in any form (`language_code`) for the recogniser of conversations. Raises
        BadInput (unsupported_language) if it is not a language, or one that the recogniser lacks."""
        code = language_code(value)
        self.check(None, FileRequest(code))
        return code

    def _engine(self, model: Model) -> str:
        return self._own.info.engine if model.settings is None else "whisper"

    @asynccontextmanager
    async def using(self, name: str | None, *, or_own: bool = False) -> AsyncIterator[Running[SpeechToText]]:
        """Load the recogniser of this name and hold it while the block runs.

        or_own: fall back to the loaded model if the requested one is unavailable (no weights, no hub, a damaged file).
        Raises UnknownModel, DoesNotFit, Overloaded when no memory can be freed now, EngineUnavailable, EngineError.
        """
        model = await asyncio.to_thread(self.find, name)
        async with AsyncExitStack() as stack:
            running = self._own
            if model.settings is not None:
                try:
                    other = await stack.enter_async_context(self._loaded(model, model.settings))
                    home = self._own.engine.home if isinstance(self._own.engine, AtHome) else None
                    running = replace(other, engine=at_home(other.engine, home))
                except (EngineUnavailable, EngineError) as error:
                    if not or_own or isinstance(error, DoesNotFit):
                        raise
                    log.info("%s is not available; %s is used instead: %s", model.name, running.info.model, error)
            yield running

    def _loaded(self, model: Model, settings: Settings) -> AbstractAsyncContextManager[Running[SpeechToText]]:
        return self.residents.using(model.name, model.mb, lambda: _opening(settings))

    def _other(self, asked: str) -> Model | None:
        for one in self.runnable:
            if asked.lower() == one.choice.id.lower():
                mb = one.choice.gpu_mb if one.device == "cuda" else one.choice.cpu_mb
                return self._model(one.choice.model, mb, compute_type=one.choice.compute_type, device=one.device)
        size = weights.size_of(asked)
        if size is not None:
            return self._model(size, self._mb(size))
        folder = asked.replace("/", "--", 1)  # the folder name of a model from the hub
        if FOLDER.fullmatch(folder) and weights.is_model(self._settings.models_dir / folder):
            path = str(self._settings.models_dir / folder)
            return self._model(path, self._mb(path))
        return None

    def _model(self, model: str, mb: int, *, compute_type: str | None = None, device: str | None = None) -> Model:
        own, info = self._settings, self._own.info
        kind, where = compute_type or own.whisper_compute_type, device or own.whisper_device
        if info.engine == "whisper" and self._same(model) and kind in (own.whisper_compute_type, info.compute_type):
            return Model(info.model, None)
        wanted = {"whisper_model": model, "whisper_compute_type": kind, "whisper_device": where, "stt_replicas": 1}
        # Conversations do not wait for this one.
        wanted["stt_batch"] = own.stt_batch or (8 if where == "cpu" or not self.hardware.cuda else 16)
        return Model(f"{model.rpartition('/')[2]} ({kind})", own.model_copy(update=wanted), mb)

    @property
    def _own_model(self) -> str:
        """The loaded model of Whisper, as in WHISPER_MODEL: if that is not set, another one can be loaded."""
        chosen = "whisper_model" in self._settings.model_fields_set
        return self._settings.whisper_model if chosen else self._own.info.name or self._settings.whisper_model

    def _same(self, model: str) -> bool:
        """Whether this is the loaded model, perhaps under another name."""
        own = self._own_model
        if weights.size_of(own) is not None:
            return weights.size_of(own) == model
        folders = [weights.find(self._settings.model_copy(update={"whisper_model": name})) for name in (own, model)]
        return own == model or (folders[0] is not None and folders[0] == folders[1])

    def _mb(self, model: str) -> int:
        return needed_mb(weights.weights_mb(self._settings, model), self._settings.whisper_compute_type, self.hardware)

    def _own_mb(self) -> int:
        return self._mb(self._own_model) * max(1, self._own.load().replicas if self._own.load else 1)

    def _here(self, size: str) -> bool:
        return weights.find(self._settings.model_copy(update={"whisper_model": size})) is not None

    def _told(self) -> list[str]:
        """Names for an error message, without paths of the server."""
        return [name for name in self.names() if not name.startswith(("/", ".", "~"))]


def languages_named(model: str) -> Sequence[str]:
    """Return the languages of a model of Whisper that need not be loaded, by its name: those for English alone end in
    ".en". Empty: unknown."""
    return ("en",) if model.endswith(".en") else ()


@asynccontextmanager
async def _opening(settings: Settings) -> AsyncIterator[Running[SpeechToText]]:
    async with open_named("stt", ENGINES, "whisper", settings, lambda progress: None) as running:
        log.info("loaded %s in %.1f s", running.info.model, running.info.ready_s)
        yield running


@asynccontextmanager
async def open_recognisers(
    settings: Settings, own: Running[SpeechToText], hardware: Hardware
) -> AsyncIterator[Recognisers]:
    """Open the recognisers; only `own` is loaded yet."""
    recognisers = Recognisers(settings, own, hardware)
    try:
        yield recognisers
    finally:
        await recognisers.residents.close()
