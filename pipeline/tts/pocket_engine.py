"""pocket-tts as a synchronous engine; imported in its worker only (torch takes seconds and memory)."""

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.errors import BadInput, EngineError
from pipeline.tts.pocket_config import MODELS, PocketConfig
from pipeline.tts.split import split

if TYPE_CHECKING:
    from pocket_tts import TTSModel
    from pocket_tts.modules.stateful_module import ModelState

log = logging.getLogger(__name__)

MAX_CLIP_S = 600.0
"""Longest reference recording that is accepted."""
MAX_CHARS = 200
"""Limit for one chunk of text. Even without punctuation it must stay below the model's 50 tokens, or the model skips
words."""
FRAMES_PER_CALL = 10
"""Frames (80 ms each) decoded at once when generation is ahead; bounds the time that a stop takes."""
PROMPT_S = 30.0
"""Length used of a voice's recordings together; more costs memory and time in each call without improving it."""
VOICES_KEPT = 8
"""Voices kept in memory, up to 20 MB each."""


class Pocket:
    """The engine: a model for each language used so far, the first one loaded and warmed up."""

    def __init__(self, config: PocketConfig) -> None:
        """Load the first model. Raises EngineError when that fails."""
        self._config = config
        _tell_hub_library(config)
        self._models: dict[str, TTSModel] = {}
        self._voices: dict[tuple[str, str], ModelState] = {}
        self.load(config.first)

    def describe(self) -> dict[str, object]:
        """Return the device and whether int8 is used."""
        return {"device": self._config.device, "int8": self._config.int8}

    def load(self, language: str) -> None:
        """Load the model of a language; the first time can include a download. Raises EngineError."""
        name = self._config.config or MODELS[language]
        if name in self._models:
            return
        try:
            from pocket_tts import TTSModel

            torch.set_num_threads(self._config.threads)  # pocket_tts sets it to one when imported
            which = {"config": name} if self._config.config else {"language": name}
            model = TTSModel.load_model(**which, quantize=self._config.int8)
            if self._config.device == "cuda":
                model = model.to("cuda")
        except Exception as error:
            log.warning("pocket-tts could not load %s: %s", name, error)
            raise EngineError(f"pocket-tts could not load its model ({type(error).__name__}).") from error
        model.max_decoder_frames_per_call = FRAMES_PER_CALL
        self._models[name] = model

    def speak(self, text: str, language: str, builtin: str, clips: tuple[str, ...]) -> Iterator[Clip]:
        """Speak a text with the voice of these recordings or, without any, with a voice of the model's catalogue ("":
        the language's default).

        Yields clips at the model's rate, 80 ms or a multiple each. Closing the generator stops within one step.
        Raises EngineError.
        """
        self.load(language)
        model = self._models[self._config.config or MODELS[language]]
        stop = threading.Event()
        try:
            state = self._voice(model, language, builtin, clips)
            for piece in split(text, MAX_CHARS):
                stream = model.generate_audio_stream(state, piece, stop=stop)
                try:
                    for samples in stream:
                        yield Clip(samples.detach().float().cpu().numpy(), model.sample_rate)
                except GeneratorExit:
                    # pocket-tts works in its own threads, which check the event after their current step. The next
                    # call can use the model only after they have ended.
                    stop.set()
                    for _ in stream:
                        pass
                    raise
        except EngineError:
            raise
        except Exception as error:
            log.exception("pocket-tts failed")
            raise EngineError(f"pocket-tts failed: {type(error).__name__}: {error}") from error

    def _voice(self, model: "TTSModel", language: str, builtin: str, clips: tuple[str, ...]) -> "ModelState":
        """Return the model's state for a voice, cached."""
        key, contents = _read(clips) if clips else (builtin, [])
        if (language, key) not in self._voices:
            if clips and not model.has_voice_cloning:
                raise EngineError(
                    "pocket-tts's weights for cloning could not be downloaded: accept their terms on the hub and set "
                    "HF_TOKEN, or use a voice without recordings."
                )
            try:
                if clips:
                    state = model.get_state_for_audio_prompt(_prompt(contents, model.sample_rate))
                else:
                    state = _of_catalogue(model, language, builtin)
            except ValueError as error:
                raise EngineError(f"pocket-tts does not have this voice: {str(error)[:200]}") from None
            while len(self._voices) >= VOICES_KEPT:
                self._voices.pop(next(iter(self._voices)))
            self._voices[language, key] = state
        return self._voices[language, key]


def _tell_hub_library(config: PocketConfig) -> None:
    """Set the hub library's environment variables, which it reads once, when pocket_tts imports it. Variables that are
    set already keep their values."""
    if "HF_HOME" not in os.environ:
        os.environ.setdefault("HF_HUB_CACHE", config.hub_cache)
    if config.hub:
        os.environ.setdefault("HF_ENDPOINT", config.hub)
    if config.hub_token:
        os.environ.setdefault("HF_TOKEN", config.hub_token)
    if config.offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _of_catalogue(model: "TTSModel", language: str, name: str) -> "ModelState":
    """Return the state of a voice of the catalogue ("": the language's default). The default also replaces a voice that
    the language lacks. Raises ValueError for a name that is not in the catalogue."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from pocket_tts.default_parameters import get_default_voice_for_language

    own = str(get_default_voice_for_language(MODELS.get(language)))
    try:
        return model.get_state_for_audio_prompt(name or own)
    except LocalEntryNotFoundError:  # a subclass of EntryNotFoundError: the hub is unreachable
        raise EngineError("The pocket-tts voice is not downloaded, and the model hub cannot be reached.") from None
    except EntryNotFoundError:
        if name in ("", own):
            raise
        log.warning("pocket-tts has no voice %s for %s; using %s", name, MODELS.get(language), own)
        return model.get_state_for_audio_prompt(own)


def _read(clips: tuple[str, ...]) -> tuple[str, list[bytes]]:
    """Return a key for the recordings, and their contents. Raises EngineError."""
    try:
        contents = [Path(clip).read_bytes() for clip in clips]
    except OSError:
        raise EngineError("A reference recording of this voice could not be read.") from None
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest(), contents


def _prompt(contents: list[bytes], rate_hz: int) -> object:
    """Join the recordings and cut them to PROMPT_S: torch, shape (1, n)."""
    try:
        joined = Clip.join((decode_blocking(content, max_seconds=MAX_CLIP_S) for content in contents), rate_hz)
    except BadInput as error:
        raise EngineError(f"A reference recording of this voice cannot be used: {error.message}") from None
    return torch.from_numpy(joined.samples[: int(PROMPT_S * rate_hz)].copy())[None]
