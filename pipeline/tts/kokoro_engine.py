"""Kokoro-82M (hexgrad, Apache-2.0) as a synchronous engine on onnxruntime; imported in its worker only."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError
from pipeline.tts.kokoro_model import KokoroModel
from pipeline.tts.kokoro_statistics import FILE, Expected, Forecast
from pipeline.tts.onnx_session import cost
from pipeline.tts.silence import Trimmer, pause_after
from pipeline.tts.split import split

RATE_HZ = 24_000
MAX_PHONEMES = 250
"""Limit for one run of the model, about 15 s of speech. Its context holds 510, but a run must end within the
timeout on a slow machine, too."""
AUDIBLE = 0.01
"""Amplitude below which a sample is silence. The model puts a third of a second of it before a clause and half a second
after it."""
STYLE_WIDTH = 256
SYMBOLS = str.maketrans({"ɚ": "əɹ", "r": "ɹ", "x": "k"})
"""eSpeak's symbols → the model's. Other symbols that the model does not know are left out."""
SAMPLE = "ðɪs ɪz ɐ ʃˈɔːɹt sˈɛntəns."
"""A sentence for the warm-up and for measuring the speed."""
VOICES_KEPT = 64
"""Voices kept in memory, 0.8 MB each."""


@dataclass(frozen=True, slots=True)
class KokoroConfig:
    """Files of the model, and how to run it."""

    folder: str
    """Folder with model.onnx and vocab.json."""
    voice: str
    """File of the voice that is used for the warm-up."""
    threads: int = 1


class Kokoro:
    """The engine, loaded and warmed up."""

    def __init__(self, config: KokoroConfig) -> None:
        """Load the model. Raises EngineError."""
        folder = Path(config.folder)
        try:
            self._vocab: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))["vocab"]
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(f"Kokoro's vocab.json cannot be read ({type(error).__name__}).") from None
        self._model = KokoroModel(folder / "model.onnx", config.threads)
        self._forecast = Forecast.read(FILE)
        self._voices: dict[str, tuple[Samples, Expected]] = {}
        self._voice = config.voice
        self._sample()

    def cost(self, enough: float) -> float:
        """Return the seconds of CPU for a second of sound on this machine; see `pipeline.tts.onnx_session.cost`."""
        return cost(self._sample, enough)

    def _sample(self) -> float:
        """Speak a short sentence; return the seconds of sound that the model produced, with the silence around it."""
        styles, _ = self._styles(self._voice)
        waves = self._model.speak(self._inputs(self._known(SAMPLE), styles, 1.0), Expected(self._forecast))
        return sum(wave.size for wave in waves if wave is not None) / RATE_HZ

    def _known(self, phonemes: str) -> str:
        """Return the model's symbols for phonemes of eSpeak."""
        return "".join(symbol for symbol in phonemes.translate(SYMBOLS) if symbol in self._vocab)

    def _inputs(self, symbols: str, styles: Samples, speed: float) -> dict[str, Any]:
        """Return the model's inputs. symbols: of its vocabulary."""
        tokens = [self._vocab[symbol] for symbol in symbols]
        return {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": styles[len(tokens)][None],
            "speed": np.array([speed], np.float32),
        }

    def speak(self, phonemes: str, voice: str, speed: float) -> Iterator[Clip | None]:
        """Speak phonemes (IPA of eSpeak, with punctuation). voice: its file. speed: 0.5 to 2.

        Yields clips at 24 kHz, without the silence around each, and None while the model runs. Closing the generator
        stops it. Raises EngineError.
        """
        styles, expected = self._styles(voice)
        for piece in split(self._known(phonemes), MAX_PHONEMES):
            trimmer = Trimmer(RATE_HZ, pause_after(piece), audible=AUDIBLE)
            for wave in self._model.speak(self._inputs(piece, styles, speed), expected):
                sound = None if wave is None else trimmer.push(wave)
                yield None if sound is None or not len(sound) else Clip(sound, RATE_HZ)
            yield Clip(trimmer.finish(), RATE_HZ)

    def _styles(self, voice: str) -> tuple[Samples, Expected]:
        """Return a voice: a style for each number of phonemes, shape (510, 256), and what its clauses are like."""
        if voice not in self._voices:
            try:
                styles = np.fromfile(voice, "<f4").reshape(-1, STYLE_WIDTH)
            except (OSError, ValueError):
                raise EngineError(f"Kokoro's voice {Path(voice).stem} cannot be read.") from None
            if len(styles) <= MAX_PHONEMES:
                raise EngineError(f"Kokoro's voice {Path(voice).stem} is not complete.")
            while len(self._voices) >= VOICES_KEPT:
                self._voices.pop(next(iter(self._voices)))
            self._voices[voice] = styles, Expected.read(Path(voice).with_suffix(".npy"), self._forecast)
        return self._voices[voice]
