"""Squares of sines as polynomials."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pipeline.support import onnx_graph
from pipeline.tts import sine_squares


def model(path: Path, exponent: float) -> None:
    """Write a model of sin(x) ** exponent, which gives sin(x), too."""
    nodes = [helper.make_node("Sin", ["x"], ["sine"]), helper.make_node("Pow", ["sine", "exponent"], ["power"])]
    described = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("x", "power", "sine")]
    constant = numpy_helper.from_array(np.array(exponent, np.float32), "exponent")
    graph = helper.make_graph(nodes, "square", described[:1], described[1:], [constant])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 9
    onnx.save(made, str(path))


def test_the_squares_are_equal_to_six_millionths(tmp_path: Path) -> None:
    model(tmp_path / "model.onnx", 2.0)
    faster = onnx_graph.read(tmp_path / "model.onnx")
    assert sine_squares.speed_up(faster) == 1
    session = onnxruntime.InferenceSession(faster.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-40, 40, 100_001, dtype=np.float32)
    power, sine = session.run(None, {"x": x})
    np.testing.assert_allclose(power, np.sin(x.astype(np.float64)) ** 2, atol=1e-5)
    np.testing.assert_allclose(sine, np.sin(x.astype(np.float64)), atol=1e-5)


def test_other_powers_are_left_as_they_are(tmp_path: Path) -> None:
    model(tmp_path / "model.onnx", 3.0)
    read = onnx_graph.read(tmp_path / "model.onnx")
    assert sine_squares.speed_up(read) == 0
    assert read.SerializeToString() == onnx_graph.read(tmp_path / "model.onnx").SerializeToString()
