"""Squares of sines in an ONNX model as polynomials: ONNX Runtime's Sin takes as long as ten multiplications or more.

Kokoro's vocoder computes x + sin²(αx)/α after each of its 48 normalisations (the "snake" activation).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.support.onnx_graph import FLOAT, node, tensor

COSINE = (0.99999829, -4.93445892, 4.04877175, -1.24779956)
"""Coefficients of cos(πx) in powers of x², for x from -0.5 to 0.5, for the least error of its square: 4e-6."""
TWO = np.float32(2).tobytes()


def speed_up(model: Any) -> int:
    """Replace the squares of sines in a model (`onnx_graph.read`), in place; the error is 6e-6. Returns how many."""
    graph = model.graph
    sines = {one.output[0]: one.input[0] for one in graph.node if one.op_type == "Sin"}
    twos = {one.name for one in graph.initializer if one.data_type == FLOAT and one.raw_data == TWO}
    squares = [one for one in graph.node if one.op_type == "Pow" and one.input[0] in sines and one.input[1] in twos]
    replaced = {one.output[0] for one in squares}
    nodes: list[Any] = []
    for old in graph.node:
        if old.output[0] in replaced:
            nodes += _square_of_sine(sines[old.input[0]], old.output[0])
        else:
            nodes.append(old)
    read = {name for one in nodes for name in one.input} | {one.name for one in graph.output}
    del graph.node[:]
    graph.node.extend(one for one in nodes if one.op_type != "Sin" or one.output[0] in read)
    if squares:
        graph.initializer.extend(tensor(f"sine_squares_{at}", np.float32(one)) for at, one in enumerate(COSINE))
        graph.initializer.append(tensor("sine_squares_per_pi", np.float32(1 / np.pi)))
        graph.initializer.append(tensor("sine_squares_one", np.float32(1)))
    return len(squares)


def _square_of_sine(angle: str, out: str) -> Iterator[Any]:
    """Yield the nodes that compute 1 - cos²(angle): cos² has a period of π."""
    turns, rest, square, cosine = (f"{out}_{name}" for name in ("turns", "rest", "square", "cosine"))
    yield node("Mul", [angle, "sine_squares_per_pi"], turns)
    yield node("Round", [turns], f"{turns}_whole")
    yield node("Sub", [turns, f"{turns}_whole"], rest)
    yield node("Mul", [rest, rest], square)
    sum_ = f"sine_squares_{len(COSINE) - 1}"
    for at in reversed(range(len(COSINE) - 1)):
        yield node("Mul", [sum_, square], f"{cosine}_{at}_product")
        yield node("Add", [f"{cosine}_{at}_product", f"sine_squares_{at}"], f"{cosine}_{at}")
        sum_ = f"{cosine}_{at}"
    yield node("Mul", [sum_, sum_], f"{cosine}_square")
    yield node("Sub", ["sine_squares_one", f"{cosine}_square"], out)
