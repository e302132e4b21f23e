"""Silero VAD v6 as matrix products in numpy, with the weights of the ONNX model inside faster-whisper.

For the one frame that a conversation has at a time, numpy needs two thirds of the time of ONNX Runtime. The network:
the spectrum of four windows, four convolutions with three taps, an LSTM, and one output.
"""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import Samples
from pipeline.support import onnx_graph

CONTEXT = 64
"""Samples before a frame that the network needs, too."""
STATE = 128
"""Size of the LSTM's output, and of its cell."""
HOP, BINS = 128, 129

Values = npt.NDArray[np.float32]


class Silero:
    """The network; it has no state of a stream, so all streams share one."""

    def __init__(self) -> None:
        graph = onnx_graph.read(_file()).graph
        weights: dict[str, Values] = {
            one.name: onnx_graph.values(one).astype(np.float32)
            for one in graph.initializer
            if one.data_type == onnx_graph.FLOAT
        }
        self._basis = np.ascontiguousarray(weights["encoder.feature_extractor.forward_basis_buffer"][:, 0].T)
        """Cosines and sines of the bins under the window, shape (2 * HOP, 2 * BINS)."""
        taps = [weights[f"encoder.conv_layers.{number}.weight"].transpose(2, 1, 0) for number in range(4)]
        # The last two convolutions have two rows and one row: all other taps meet their padding.
        parts = [taps[0], taps[1], taps[2][1:], taps[3][1:2]]
        self._convolutions = [
            (np.ascontiguousarray(part.reshape(-1, part.shape[2])), weights[f"encoder.conv_layers.{number}.bias"])
            for number, part in enumerate(parts)
        ]
        lstm = next(one for one in graph.node if one.op_type == "LSTM")
        inputs, recurrent, bias = (weights[name][0] for name in lstm.input[1:4])
        # The gates in, out and forget have a logistic function, which is half a tanh of half its argument.
        halved = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), STATE)
        self._inputs, self._recurrent = (np.ascontiguousarray((one * halved[:, None]).T) for one in (inputs, recurrent))
        self._bias = halved * bias.reshape(2, -1).sum(axis=0)
        self._output = weights["decoder.conv1d.weight"][0, :, 0]
        self._output_bias = float(weights["decoder.conv1d.bias"][0])

    def run(self, inputs: Samples, hidden: Values, cell: Values) -> tuple[list[float], Values, Values]:
        """Return the probabilities of consecutive frames and the new state. inputs: each frame with its context, shape
        (n, CONTEXT + 512). hidden, cell: the state, shape (STATE,); zeros at the start of a stream."""
        probabilities = []
        for given in self._encoded(inputs) @ self._inputs + self._bias:
            gates = hidden @ self._recurrent
            gates += given
            np.tanh(gates, out=gates)
            opened = gates[: 3 * STATE] * 0.5 + 0.5
            cell = opened[2 * STATE :] * cell + opened[:STATE] * gates[3 * STATE :]
            hidden = opened[STATE : 2 * STATE] * np.tanh(cell)
            logit = float(np.maximum(hidden, 0) @ self._output) + self._output_bias
            probabilities.append(1 / (1 + math.exp(-logit)))
        return probabilities, hidden, cell

    def _encoded(self, inputs: Samples) -> Values:
        """Return the output of the convolutions, shape (n, STATE)."""
        count = len(inputs)
        hops = np.concatenate([inputs, inputs[:, -2 : -CONTEXT - 2 : -1]], axis=1).reshape(count, -1, HOP)
        windows = np.concatenate([hops[:, :-1], hops[:, 1:]], axis=2)
        parts = windows.reshape(-1, 2 * HOP) @ self._basis
        parts *= parts
        levels = np.zeros((count, 6, BINS), np.float32)
        np.sqrt((parts[:, :BINS] + parts[:, BINS:]).reshape(count, 4, BINS), out=levels[:, 1:5])
        first, second, third, fourth = self._convolutions
        rows = np.zeros((count, 6, STATE), np.float32)
        taps = np.concatenate([levels[:, tap : tap + 4] for tap in range(3)], axis=2).reshape(-1, 3 * BINS)
        rows[:, 1:5] = _layer(taps, first).reshape(count, 4, STATE)
        taps = np.concatenate([rows[:, tap : tap + 3 : 2] for tap in range(3)], axis=2).reshape(-1, 3 * STATE)
        return _layer(_layer(_layer(taps, second).reshape(count, -1), third), fourth)


def _layer(inputs: Values, weights: tuple[Values, Values]) -> Values:
    """Return the positive part of a linear layer's outputs, shape (n, outputs)."""
    outputs: Values = inputs @ weights[0]
    outputs += weights[1]
    return np.maximum(outputs, 0, out=outputs)


def _file() -> Path:
    """Return the ONNX file, without the import of faster-whisper and of the libraries that it needs."""
    spec = find_spec("faster_whisper")
    assert spec  # noqa: S101  # it is a dependency
    return Path(str(spec.origin)).parent / "assets" / "silero_vad_v6.onnx"
