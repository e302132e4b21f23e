"""A Piper voice as a synchronous engine on onnxruntime; imported in its worker only."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.clip import Clip
from pipeline.tts.onnx_session import load, run
from pipeline.tts.silence import Trimmer, pause_after
from pipeline.tts.split import split

MAX_PHONEMES = 400
"""Limit for one run of the model, about half a minute of speech."""
AUDIBLE = 0.01
"""Amplitude below which a sample is silence."""
WARM_UP = "ðɪs ɪz ɐ ʃˈɔːɹt sˈɛntəns."


@dataclass(frozen=True, slots=True)
class PiperConfig:
    """A voice, and how to run it."""

    model: str
    """Its ONNX file."""
    ids: dict[str, list[int]]
    """Its phoneme_id_map."""
    rate_hz: int
    scales: tuple[float, float, float]
    """Noise scale, length scale, and noise scale of the durations."""
    speakers: int = 1
    threads: int = 1


class Piper:
    """The engine, loaded and warmed up."""

    def __init__(self, config: PiperConfig) -> None:
        """Load the voice. Raises EngineError."""
        self._config = config
        self._session = load(Path(config.model), config.threads)
        list(self.speak(WARM_UP, 0))

    def speak(self, phonemes: str, speaker: int) -> Iterator[Clip | None]:
        """Speak phonemes (IPA of eSpeak, with punctuation). speaker: number below the voice's `speakers`.

        Yields clips without the silence around each, and None while the model runs. Closing the generator stops it.
        Raises EngineError.
        """
        config = self._config
        for piece in split(phonemes, MAX_PHONEMES):
            inputs: dict[str, NDArray[np.generic]] = {
                "input": np.array([self._ids(piece)], np.int64),
                "scales": np.array(config.scales, np.float32),
            }
            inputs["input_lengths"] = np.array([inputs["input"].shape[1]], np.int64)
            if config.speakers > 1:
                inputs["sid"] = np.array([speaker], np.int64)
            wave = yield from run(self._session, inputs)
            trimmer = Trimmer(config.rate_hz, pause_after(piece), audible=AUDIBLE)
            sound = trimmer.push(np.clip(wave, -1, 1))
            yield Clip(np.concatenate([sound, trimmer.finish()]), config.rate_hz)

    def _ids(self, phonemes: str) -> list[int]:
        """Return the voice's numbers: a start, each known symbol followed by a pad, an end."""
        ids = self._config.ids
        pad = ids["_"]
        known = [ids[symbol] for symbol in unicodedata.normalize("NFD", phonemes) if symbol in ids]
        return [*ids["^"], *pad, *(number for own in known for number in (*own, *pad)), *ids["$"]]
