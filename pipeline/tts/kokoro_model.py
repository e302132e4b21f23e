"""Kokoro's graph in parts, so that a clause sounds before all of it is computed; imported in its worker only.

The front computes the durations, the pitch and all layers of at most 80 values a second. The vocoder, with 800 and then
4800 values a second, takes most of the time. It normalises 44 layers with mean and variance over the whole clause, so
it runs in windows with those that are expected (`pipeline.tts.kokoro_statistics`).
"""

import itertools
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from pipeline.audio.clip import Samples
from pipeline.support import onnx_graph
from pipeline.tts import integer_convolutions, sine_squares
from pipeline.tts.kokoro_statistics import Expected, describe
from pipeline.tts.onnx_session import loading, run, run_all, session

VOCODER = "/decoder/decoder/generator"
FEATURES, PITCH = f"{VOCODER}/LeakyRelu_output_0", "/decoder/decoder/Unsqueeze_output_0"
PHASES = f"{VOCODER}/m_source/l_sin_gen/Mul_4_output_0"
"""Inputs of the vocoder, 80 a second: features, the voice's pitch in Hz, and the phases of its harmonics."""
MIDDLE, SOURCE = f"{VOCODER}/LeakyRelu_1_output_0", f"{VOCODER}/Concat_3_output_0"
"""Between the halves of the vocoder: features, 800 a second, and the spectrum of the voice's source, 4800 a second."""
DURATIONS = "/encoder/Clip_output_0"
"""Frames of each token."""
FRAME, FRAME_FEATURES, FRAME_MIDDLE, FRAME_SOURCE = 600, 2, 20, 120
"""Samples, features in the inputs and in the middle, and spectra of a frame of 25 ms."""
WINDOWS = (16, 16, 32)
"""Frames of the first windows; the others are like the last. A longer one costs less for a second of sound."""
REACH, REACH_MIDDLE = 2, 1
"""Frames that a window needs on either side, of the inputs and in the middle."""
CHANNELS, STATISTICS = (256, 128), 44
"""Channels in the halves of the vocoder, and the means and variances of each half, each for all channels."""
VARIANCE = "ReduceMean_2_output_0"
"""End of the name of a variance. Its logarithm is expected, because it is positive."""
TINY = 1e-5
"""Added to a variance before its logarithm, as by the model before its root."""
SHORTEST = 70
"""Frames of the shortest clause in windows: the statistics of shorter ones vary too much."""


def _statistics(half: Any) -> list[str]:
    """Return the names of the means and variances in a half of the vocoder. Raises KeyError for another number."""
    names = [one.output[0] for one in half.graph.node if one.op_type == "ReduceMean"]
    if len(names) != STATISTICS:
        raise KeyError(len(names))
    return names


class KokoroModel:
    """The loaded model."""

    def __init__(self, file: Path, threads: int) -> None:
        """Load the model. Raises EngineError."""
        with loading(file):
            graph = onnx_graph.read(file)
            integer_convolutions.speed_up(graph)
            sine_squares.speed_up(graph)
            self._front: InferenceSession | None = None
            audio = graph.graph.output[0].name
            vocoder_inputs = [FEATURES, PITCH, PHASES]
            try:
                front = onnx_graph.part(graph, [*vocoder_inputs, DURATIONS])
                vocoder = onnx_graph.part(graph, [audio], vocoder_inputs)
                first = onnx_graph.part(vocoder, [MIDDLE, SOURCE], vocoder_inputs)
                last = onnx_graph.part(vocoder, [audio], [MIDDLE, SOURCE])
                self._names = [_statistics(first), _statistics(last)]
            except KeyError:  # an export with other names: all its clauses are computed whole
                self._whole = session(graph.SerializeToString(), threads)
                return
            del graph
            first = onnx_graph.part(first, [MIDDLE, SOURCE], [*vocoder_inputs, *self._names[0]])
            last = onnx_graph.part(last, [audio], [MIDDLE, SOURCE, *self._names[1]])
            whole = onnx_graph.part(vocoder, [audio, *self._names[0], *self._names[1]], vocoder_inputs)
            self._front = session(front.SerializeToString(), threads)
            self._first = session(first.SerializeToString(), threads)
            self._last = session(last.SerializeToString(), threads)
            self._whole = session(whole.SerializeToString(), threads)

    def speak(
        self, inputs: Mapping[str, NDArray[np.generic]], expected: Expected
    ) -> Generator[Samples | None, None, None]:
        """Yield the sound of a clause, and None while the model runs; closing the generator stops it.

        The sound comes in windows, without the silence before it, if `expected` has enough clauses of the same voice.
        Otherwise it comes whole, and may be added to them. Raises EngineError.
        """
        if self._front is None:
            yield (yield from run(self._whole, inputs))
            return
        features, pitch, phases, durations = yield from run_all(self._front, inputs)
        given = {FEATURES: features, PITCH: pitch, PHASES: phases, "style": inputs["style"]}
        clause = describe(features, pitch, durations, np.asarray(inputs["style"], np.float32))
        long = features.shape[2] >= SHORTEST * FRAME_FEATURES
        known = expected.of(clause) if long else None
        if known is not None:
            yield from self._in_windows(given, known, int(durations.flat[0]) // 2)
            return
        wave, *statistics = yield from run_all(self._whole, given)
        if long:
            expected.add(clause, self._joined(statistics))
        yield wave.ravel()

    def _in_windows(
        self, given: Mapping[str, NDArray[np.generic]], known: Samples, start: int
    ) -> Generator[Samples | None, None, None]:
        """Yield the sound in windows. given: see the inputs of the vocoder. known: statistics. start: the first frame;
        half of the first token is silence at any speed."""
        frames = given[FEATURES].shape[2] // FRAME_FEATURES
        of_first, of_last = self._apart(known)
        sizes = itertools.chain(WINDOWS, itertools.repeat(WINDOWS[-1]))
        while start < frames:
            end = min(frames, start + next(sizes))
            low, high = max(0, start - REACH_MIDDLE), min(frames, end + REACH_MIDDLE)
            outer, until = max(0, low - REACH), min(frames, high + REACH)
            part = slice(FRAME_FEATURES * outer, FRAME_FEATURES * until)
            cut = {name: given[name][:, :, part] for name in (FEATURES, PITCH, PHASES)}
            middle, source = yield from run_all(self._first, {**given, **cut, **of_first})
            middle = middle[:, :, FRAME_MIDDLE * (low - outer) : FRAME_MIDDLE * (high - outer)]
            source = source[:, :, FRAME_SOURCE * (low - outer) : FRAME_SOURCE * (high - outer) + 1]
            halfway = {MIDDLE: middle, SOURCE: source, "style": given["style"]}
            wave = yield from run(self._last, {**halfway, **of_last})
            yield wave[FRAME * (start - low) : FRAME * (end - low)]
            start = end

    def _joined(self, statistics: Sequence[Samples]) -> Samples:
        """Return the statistics of a clause as one array, see `VARIANCE`."""
        named = zip(itertools.chain(*self._names), statistics, strict=True)
        return np.concatenate([np.log(one + TINY) if name.endswith(VARIANCE) else one for name, one in named], None)

    def _apart(self, joined: Samples) -> list[dict[str, Samples]]:
        """Return the inputs for each half of the vocoder from all statistics; see `_joined`."""
        halves = np.split(joined, [STATISTICS * CHANNELS[0]])
        return [
            {
                name: np.exp(one) if name.endswith(VARIANCE) else one
                for name, one in zip(names, half.reshape(STATISTICS, 1, channels, 1), strict=True)
            }
            for names, half, channels in zip(self._names, halves, CHANNELS, strict=True)
        ]
