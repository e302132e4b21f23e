"""XTTS v2 as a synchronous engine; imported in its worker only (torch and coqui-tts take seconds and memory).

Not thread-safe: the worker runs one stream at a time on a model.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError
from pipeline.tts.silence import Trimmer, pause_after
from pipeline.tts.split import split
from pipeline.tts.xtts_compat import import_coqui
from pipeline.tts.xtts_config import XttsConfig
from pipeline.tts.xtts_stream import WindowedVocoder, latents
from pipeline.tts.xtts_voice import Latents, VoiceLatents, model_key

if TYPE_CHECKING:
    from TTS.tts.models.xtts import Xtts as CoquiXtts

log = logging.getLogger(__name__)

FIRST_TOKENS, NEXT_TOKENS = 8, 20
"""Tokens (46 ms of audio each) before the first chunk, and before each further one."""
AUDIBLE = 0.004
"""Amplitude below which the vocoder's output is silence: -48 dBFS."""
JUNK_S = 0.15
"""XTTS sometimes adds a syllable after the end of a text. Sound at the very end, after a pause and no longer than this,
is removed. Longer sound stays, because a word must never be lost."""


_QUOTES = re.compile(r"[\"“”«»„*_#<>|~^`\[\](){}]")
_MARKS = re.compile(r"([.!?…])[.!?…]+")
_NOTHING: Samples = np.zeros(0, np.float32)


class Xtts:
    """The engine: the model loaded and warmed up."""

    def __init__(self, config: XttsConfig) -> None:
        """Load the model. Raises EngineError when that fails."""
        torch.set_num_threads(config.threads)
        cuda = torch.cuda.is_available()
        if config.device == "cuda" and not cuda:
            raise EngineError("TTS_DEVICE is cuda, but torch does not find a CUDA device.")
        self._device = "cuda" if cuda and config.device != "cpu" else "cpu"
        folder = Path(config.folder)
        try:
            self._model = _load(folder, self._device)
            self._int8 = config.precision == "int8" and self._device == "cpu"
            if self._int8:
                _quantise(self._model.gpt.gpt)
            elif config.precision not in ("float32", "int8"):
                _lower(self._model.gpt, getattr(torch, config.precision))
            self._voices = VoiceLatents(self._model, model_key(folder), Path(config.latents_dir))
            self.rate_hz = int(self._model.config.model_args.output_sample_rate)
            self._warm_up()
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"XTTS could not be loaded: {type(error).__name__}: {error}") from error

    def describe(self) -> dict[str, object]:
        """Return the languages (as XTTS names them), the device and whether int8 is used."""
        return {"languages": list(self._model.config.languages), "device": self._device, "int8": self._int8}

    def speak(self, text: str, language: str, speaker: str, clips: tuple[str, ...]) -> Iterator[Clip | None]:
        """Speak a text in a language of `describe`, with the voice of these recordings or, without any, of one of the
        model's speakers.

        Yields clips at `rate_hz`, and None after each token without sound yet, so that a cancelled call ends within
        one token. Raises EngineError.
        """
        try:
            voice = self._voices.of_clips(clips) if clips else self._voices.of_speaker(speaker)
            for tokens, piece in self._pieces(text, language):
                trimmer = Trimmer(self.rate_hz, pause_after(piece), audible=AUDIBLE, junk_s=JUNK_S)
                for samples in _synthesise(self._model, tokens, voice):
                    yield self._clip(trimmer.push(samples))
                yield self._clip(trimmer.finish())
        except EngineError:
            raise
        except Exception as error:
            log.exception("XTTS failed")
            raise EngineError(f"XTTS failed: {type(error).__name__}: {error}") from error

    def _clip(self, samples: Samples) -> Clip | None:
        return Clip(samples, self.rate_hz) if len(samples) else None

    def _pieces(self, text: str, language: str) -> list[tuple[list[int], str]]:
        """Split the text into chunks that XTTS does not truncate, as tokens: below its limit of characters for the
        language, and below its limit of tokens (numbers grow when they are spelled out)."""
        limit = self._model.tokenizer.char_limits.get(language.partition("-")[0], 250)
        most = self._model.args.gpt_max_text_tokens - 2
        waiting = split(_normal(text), limit)
        done = []
        while waiting:
            piece = waiting.pop(0)
            tokens = self._model.tokenizer.encode(piece.lower(), lang=language)
            if len(tokens) > most and len(piece) > 1:
                waiting = split(piece, max(1, len(piece) // 2)) + waiting
            else:
                done.append((tokens[:most], piece))
        return done

    def _warm_up(self) -> None:
        """Speak a short text, so that the first user does not wait for allocations and kernels."""
        width = self._model.args.gpt_n_model_channels
        voice = Latents(torch.zeros(1, 32, width, device=self._device), torch.zeros(1, 512, 1, device=self._device))
        language = self._model.config.languages[0]
        tokens = self._model.tokenizer.encode("hello.", lang=language)
        for _ in zip(range(2 * FIRST_TOKENS), _synthesise(self._model, tokens, voice), strict=False):
            pass


def _synthesise(model: "CoquiXtts", tokens: list[int], voice: Latents) -> Iterator[Samples]:
    """Synthesise a text's tokens. Yields the final samples after each audio token, often none."""
    vocoder = WindowedVocoder(model.hifigan_decoder, voice.speaker)
    fresh: list[torch.Tensor] = []
    want = FIRST_TOKENS
    for latent in latents(model, tokens, voice.conditioning):
        fresh.append(latent)
        if len(fresh) >= want:
            yield vocoder.push(fresh)
            fresh, want = [], NEXT_TOKENS
        else:
            yield _NOTHING
    yield vocoder.push(fresh)
    yield vocoder.finish()


def _load(folder: Path, device: str) -> "CoquiXtts":
    import_coqui()
    from TTS.tts.configs.xtts_config import XttsConfig as CoquiConfig
    from TTS.tts.models.xtts import Xtts as CoquiXtts

    config = CoquiConfig()
    config.load_json(str(folder / "config.json"))
    model = CoquiXtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(folder), eval=True)
    return model.to(device)


def _quantise(gpt: torch.nn.Module) -> None:
    """Quantise the linear layers of a GPT-2 to int8, in place. Its projections are transposed (Conv1D), which torch
    cannot quantise, so they are converted to Linear first."""
    from transformers.pytorch_utils import Conv1D

    for parent in list(gpt.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv1D):
                linear = torch.nn.Linear(*child.weight.shape)
                with torch.no_grad():
                    linear.weight.copy_(child.weight.T)
                    linear.bias.copy_(child.bias)
                setattr(parent, name, linear.eval())
    torch.ao.quantization.quantize_dynamic(gpt, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)


def _lower(gpt: torch.nn.Module, kind: torch.dtype) -> None:
    """Convert the GPT's transformer to half precision, in place. Voices are still analysed and tokens still chosen in
    full precision."""

    def cast(
        module: torch.nn.Module, args: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        embeddings = named.get("inputs_embeds")
        return args, named if embeddings is None else {**named, "inputs_embeds": embeddings.to(kind)}

    positions = gpt.gpt.wpe  # returns zeros: positions are in the embeddings already
    gpt.gpt.wpe = lambda *rest, **named: positions(*rest, **named).to(kind)
    gpt.gpt.to(kind).register_forward_pre_hook(cast, with_kwargs=True)
    gpt.final_norm.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))


def _normal(text: str) -> str:
    """Normalise a text for XTTS, which babbles after quotes, doubled marks, or a missing mark at the end."""
    text = _QUOTES.sub("", text)
    text = _MARKS.sub(r"\1", text).strip()
    return text if text.endswith((".", "!", "?", "…", "。", "！", "？", ",", ";", ":")) else f"{text}."
