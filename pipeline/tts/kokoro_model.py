"""Kokoro's graph in parts, so that a clause sounds before all of it is computed; imported in its worker only.

The front computes the durations and all layers of at most 800 values a second. The last part of the vocoder, with 4800
values a second, takes most of the time. It normalises 22 layers with mean and variance over the whole clause, which are
known only at its end. So it runs in windows with those that are expected from other clauses of the voice: a straight
line over the share of silence. Those of other voices are far off.
"""

from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.clip import Samples
from pipeline.errors import EngineError
from pipeline.support import onnx_graph
from pipeline.tts import integer_convolutions
from pipeline.tts.onnx_session import loading, run, run_all, session

FEATURES, SOURCE = "/decoder/decoder/generator/LeakyRelu_1_output_0", "/decoder/decoder/generator/Concat_3_output_0"
"""Inputs of the last part: features, 800 a second, and the spectrum of the voice's source, 4800 a second."""
DURATIONS = "/encoder/Clip_output_0"
"""Frames of each token."""
FRAME, FRAME_FEATURES, FRAME_SOURCE = 600, 20, 120
"""Samples, features and spectra of a frame of 25 ms."""
WINDOW, CONTEXT = 16, 1
"""Frames of a window, and those that it needs on either side."""
STATISTICS, CHANNELS = 44, 128
"""Means and variances of the last part, each for all channels."""
SHORTEST = 70
"""Frames of the shortest clause in windows: the statistics of shorter ones vary too much."""
ENOUGH, KEPT = 6, 12
"""Clauses of a voice that are computed whole before the first in windows, and those whose statistics are kept."""
BEYOND = 0.06
"""Distance from the known shares of silence beyond which a clause is computed whole."""
FLATTER = 0.01
"""Added to the sum of squares, so that clauses with similar shares of silence do not make a steep line."""


class Expected:
    """Means and variances of a voice's clauses, by the share of silence."""

    def __init__(self, known: Samples | None = None) -> None:
        """known: see `rows`."""
        self._rows = np.zeros((0, 1 + STATISTICS * CHANNELS), np.float32) if known is None else known

    @staticmethod
    def read(file: Path) -> "Expected":
        """Return those in a file that `bench.kokoro_statistics` wrote; none if it is missing. Raises EngineError."""
        if not file.exists():
            return Expected()
        try:
            rows = np.load(file, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError):
            raise EngineError(f"The statistics of Kokoro's voice {file.stem} cannot be read.") from None
        if rows.ndim != 2 or rows.shape[1] != 1 + STATISTICS * CHANNELS:
            raise EngineError(f"The statistics of Kokoro's voice {file.stem} are of another model.")
        return Expected(rows)

    @property
    def rows(self) -> Samples:
        """The share of silence and the statistics of each clause, shape (clauses, 1 + STATISTICS * CHANNELS)."""
        return self._rows

    def add(self, share: float, statistics: Samples) -> None:
        """Add a clause. statistics: flattened."""
        row = np.concatenate([np.array([share], np.float32), statistics])
        self._rows = np.concatenate([self._rows, row[None]])[-KEPT:]

    def of(self, share: float) -> Samples | None:
        """Return the statistics to expect of a clause, flattened; None if too little is known."""
        shares, known = self._rows[:, 0], self._rows[:, 1:]
        if len(shares) < ENOUGH or not shares.min() - BEYOND <= share <= shares.max() + BEYOND:
            return None
        away = shares - shares.mean()
        slope = away @ (known - known.mean(0)) / (away @ away + FLATTER)
        line: Samples = np.clip(known.mean(0) + slope * (share - shares.mean()), known.min(0), known.max(0))
        return line


class KokoroModel:
    """The loaded model."""

    def __init__(self, file: Path, threads: int) -> None:
        """Load the model. Raises EngineError."""
        with loading(file):
            graph = onnx_graph.read(file)
            integer_convolutions.speed_up(graph)
            self._front = self._window = None
            self._statistics: list[str] = []
            audio = graph.graph.output[0].name
            try:
                last = onnx_graph.part(graph, [audio], [FEATURES, SOURCE])
                front = onnx_graph.part(graph, [FEATURES, SOURCE, DURATIONS])
            except KeyError:  # an export with other names: all its clauses are computed whole
                self._whole = session(graph.SerializeToString(), threads)
                return
            del graph
            self._statistics = [one.output[0] for one in last.graph.node if one.op_type == "ReduceMean"]
            self._front = session(front.SerializeToString(), threads)
            del front
            window = onnx_graph.part(last, [audio], [FEATURES, SOURCE, *self._statistics])
            self._window = session(window.SerializeToString(), threads)
            whole = onnx_graph.part(last, [audio, *self._statistics], [FEATURES, SOURCE])
            self._whole = session(whole.SerializeToString(), threads)

    def speak(
        self, inputs: Mapping[str, NDArray[np.generic]], expected: Expected
    ) -> Generator[Samples | None, None, None]:
        """Yield the sound of a clause, and None while the model runs; closing the generator stops it.

        The sound comes in windows, without the silence before it, if `expected` has enough clauses of the same voice.
        Otherwise it comes whole, and is added to them. Raises EngineError.
        """
        if self._front is None or self._window is None:
            yield (yield from run(self._whole, inputs))
            return
        features, source, durations = yield from run_all(self._front, inputs)
        given = {FEATURES: features, SOURCE: source, "style": inputs["style"]}
        lengths = durations.ravel()
        frames = features.shape[2] // FRAME_FEATURES
        share = float(lengths[0] + lengths[-1]) / frames
        known = expected.of(share) if frames >= SHORTEST else None
        if known is None:
            wave, *statistics = yield from run_all(self._whole, given)
            if frames >= SHORTEST:
                expected.add(share, np.concatenate([one.ravel() for one in statistics]))
            yield wave.ravel()
            return
        given |= zip(self._statistics, known.reshape(STATISTICS, 1, CHANNELS, 1), strict=True)
        for start in range(int(lengths[0]) // 2, frames, WINDOW):  # half of the first token is silence at any speed
            end = min(frames, start + WINDOW)
            low, high = max(0, start - CONTEXT), min(frames, end + CONTEXT)
            given[FEATURES] = features[:, :, FRAME_FEATURES * low : FRAME_FEATURES * high]
            given[SOURCE] = source[:, :, FRAME_SOURCE * low : FRAME_SOURCE * high + 1]
            wave = yield from run(self._window, given)
            yield wave[FRAME * (start - low) : FRAME * (end - low)]
