"""Integer convolutions as matrix products give the same numbers as ONNX Runtime's own."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.support import onnx_graph
from pipeline.tts import integer_convolutions
from tests.real_models import real_model


def convolution(path: Path, taps: int, dilation: int, stride: int, pads: tuple[int, int], group: int = 1) -> None:
    """Write a model of one convolution of 6 → 4 channels, after the quantisation of its input."""
    random = np.random.default_rng(taps)
    weights = random.integers(0, 128, (4, 6 // group, taps), np.uint8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["sound"], ["quantised", "scale", "zero"]),
        helper.make_node(
            "ConvInteger", ["quantised", "weights", "zero", "weights_zero"], ["sums"],
            kernel_shape=[taps], dilations=[dilation], strides=[stride], pads=list(pads), group=group,
        ),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "convolution",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, 6, None])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 4, None])],
        [numpy_helper.from_array(weights, "weights"), helper.make_tensor("weights_zero", TensorProto.UINT8, [], [61])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.save(model, str(path))


def outputs(model: str | bytes, inputs: dict[str, Any]) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize(
    ("taps", "dilation", "stride", "pads"),
    [
        (1, 1, 1, (0, 0)),
        (3, 1, 1, (1, 1)),
        (11, 5, 1, (25, 25)),
        (3, 1, 2, (1, 1)),
        (12, 1, 6, (3, 2)),
        (1, 1, 2, (0, 0)),
    ],
)
def test_the_sums_are_equal(tmp_path: Path, taps: int, dilation: int, stride: int, pads: tuple[int, int]) -> None:
    file = tmp_path / "model.onnx"
    convolution(file, taps, dilation, stride, pads)
    faster = onnx_graph.read(file)
    assert integer_convolutions.speed_up(faster) == 1
    sound = {"sound": np.random.default_rng(0).normal(size=(1, 6, 101)).astype(np.float32)}
    expected = outputs(str(file), sound)
    assert np.abs(expected).max() > 1000
    np.testing.assert_array_equal(outputs(faster.SerializeToString(), sound), expected)


def test_a_convolution_in_groups_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    convolution(file, 3, 1, 1, (1, 1), group=2)
    model = onnx_graph.read(file)
    assert integer_convolutions.speed_up(model) == 0
    assert model.SerializeToString() == onnx_graph.read(file).SerializeToString()


def test_kokoro_speaks_the_same_samples() -> None:
    file = real_model("kokoro-82m") / "model.onnx"
    faster = onnx_graph.read(file)
    assert integer_convolutions.speed_up(faster) == 87
    inputs = {
        "tokens": np.array([[0, 50, 83, 54, 156, 57, 135, 0]], np.int64),
        "style": np.full((1, 256), 0.1, np.float32),
        "speed": np.ones(1, np.float32),
    }
    expected = outputs(str(file), inputs)
    assert expected.size > 10_000
    np.testing.assert_allclose(outputs(faster.SerializeToString(), inputs), expected, atol=1e-6)
