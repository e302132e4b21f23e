"""Write which means and variances of the vocoder to expect of Kokoro's clauses, with which it runs in windows.

    python -m bench.kokoro_statistics VOICE.bin ... --forecast voices/kokoro/statistics.npz    # eight voices or more
    python -m bench.kokoro_statistics voices/kokoro/*.bin [--model models/kokoro-82m]          # NAME.npy beside each

The first makes the forecast for all voices from clauses of many; then the averages of all voices must be made again.
A voice without NAME.npy is computed whole for its first six clauses.
"""

import argparse
import random
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from bench.kokoro import inputs
from pipeline.audio.clip import Samples
from pipeline.settings import HOME
from pipeline.tts.espeak_engine import Espeak
from pipeline.tts.kokoro_engine import MAX_PHONEMES, STYLE_WIDTH
from pipeline.tts.kokoro_model import KokoroModel
from pipeline.tts.kokoro_statistics import FILE, PITCHES_HZ, Expected, Forecast
from pipeline.tts.kokoro_voices import LANGUAGES, OF_LETTER, espeak_voice

TEXTS = HOME / "bench" / "text_language_set.txt"
CLAUSES = 16
"""Clauses of a voice."""
SPEEDS = (1.0, 1.0, 0.85, 1.0, 1.25)
BLOCKS = (4, len(PITCHES_HZ), STYLE_WIDTH)
"""Sizes of the parts of a description; the rest is of the features."""
KEPT = (4, 12, 8, 32)
"""Principal components of each part that the forecast can depend on."""
COMPONENTS = 24
"""Components that the forecast depends on."""
RIDGE = 3.0


class Collected(Expected):
    """Descriptions and statistics of a voice's clauses, all computed whole."""

    def __init__(self) -> None:
        self.clauses: list[Samples] = []
        self.statistics: list[Samples] = []

    def of(self, clause: Samples) -> None:
        return None

    def add(self, clause: Samples, statistics: Samples) -> None:
        self.clauses.append(clause)
        self.statistics.append(statistics)


def texts() -> dict[str, list[str]]:
    """Return the sentences of each language."""
    found: dict[str, list[str]] = {}
    sentences: list[str] = []
    for line in TEXTS.read_text("utf-8").splitlines():
        if line.startswith("["):
            sentences = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            sentences.append(line)
    return found


def collect(model: KokoroModel, folder: Path, phonemes: Espeak, voice: Path) -> Collected:
    """Compute clauses of a voice: of one sentence or two, at several speeds, in its language, else in English."""
    language = OF_LETTER[voice.stem[0]].partition("-")[0]
    sentences = texts().get(language if language in LANGUAGES else "en") or texts()["en"]
    language = language if sentences is not texts()["en"] else "en"
    chosen = random.Random(voice.stem)
    collected = Collected()
    speeds = cycle(SPEEDS)
    while len(collected.clauses) < CLAUSES:
        text = " ".join(chosen.sample(sentences, chosen.choice((1, 1, 1, 2))))
        read = phonemes.phonemes(text, espeak_voice(language, voice.stem) or "en-us")[:MAX_PHONEMES]
        for _ in model.speak(inputs(folder, read, voice, next(speeds)), collected):
            pass
    return collected


def components(rows: Any, count: int) -> Any:
    """Return the weights of the principal components of centred rows, with a variance of 1."""
    deviation = rows.std(0) + 1e-6
    values, vectors = np.linalg.eigh(np.cov((rows / deviation).T, bias=True))
    count = min(count, int((values > 1e-6).sum()))
    return vectors[:, ::-1][:, :count] / np.sqrt(values[::-1][:count]) / deviation[:, None]


def fit(voices: Sequence[Collected]) -> Forecast:
    """Fit the forecast to the differences of clauses from the average of their voice: ridge regression from principal
    components of the description, reduced to the COMPONENTS that explain the most."""
    clauses = np.concatenate([centred(one.clauses) for one in voices]).astype(np.float64)
    statistics = np.concatenate([centred(one.statistics) for one in voices]).astype(np.float64)
    weights = np.zeros((clauses.shape[1], 0))
    for block, count in zip(np.split(np.arange(clauses.shape[1]), np.cumsum(BLOCKS)), KEPT, strict=True):
        part = components(clauses[:, block], count)
        whole = np.zeros((clauses.shape[1], part.shape[1]))
        whole[block] = part
        weights = np.concatenate([weights, whole], 1)
    known = clauses @ weights
    slopes = np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ statistics)
    size = statistics.std(0) + 1e-6  # so that all statistics count alike
    explained = known @ (slopes / size)
    _, left = np.linalg.eigh(explained @ explained.T)
    axes = left[:, ::-1][:, :COMPONENTS].T @ explained
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    to_axes = slopes / size @ axes.T
    deviation = (known @ to_axes).std(0)
    return Forecast(
        (weights @ to_axes / deviation).astype(np.float32), (deviation[:, None] * axes * size).astype(np.float32)
    )


def centred(rows: Sequence[Samples]) -> Samples:
    stacked = np.stack(rows)
    less: Samples = stacked - stacked.mean(0)
    return less


def averaged(collected: Collected, forecast: Forecast) -> Samples:
    """Return the average of a voice, see `Expected.average`."""
    average: Samples = np.concatenate(
        [(np.stack(collected.clauses) @ forecast.inputs).mean(0), np.mean(collected.statistics, 0)]
    )
    return average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voices", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, default=HOME / "models" / "kokoro-82m")
    parser.add_argument("--forecast", type=Path, help="write the forecast to this file, instead of averages")
    chosen = parser.parse_args()
    model, phonemes = KokoroModel(chosen.model / "model.onnx", 1), Espeak(None)
    found: dict[Path, Any] = {}
    for voice in chosen.voices:
        found[voice] = collect(model, chosen.model, phonemes, voice)
        print(voice.stem, flush=True)
    if chosen.forecast:
        forecast = fit(list(found.values()))
        np.savez(
            chosen.forecast, inputs=forecast.inputs.astype(np.float32), outputs=forecast.outputs.astype(np.float16)
        )
        return
    forecast = Forecast.read(FILE)
    for voice, collected in found.items():
        np.save(voice.with_suffix(".npy"), averaged(collected, forecast).astype(np.float16))


if __name__ == "__main__":
    main()
