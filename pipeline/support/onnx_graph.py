"""Reading and changing an ONNX file with protobuf, which onnxruntime depends on: the `onnx` package would add 31 MB.

The messages below have only the fields that are read or written here; protobuf keeps all others as they are. Numbers
are those of onnx.proto3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

MESSAGES = {
    "Model": {"ir_version": (1, "int64"), "graph": (7, "Graph"), "opset_import": (8, "Opset*")},
    "Opset": {"domain": (1, "string"), "version": (2, "int64")},
    "Graph": {
        "node": (1, "Node*"), "name": (2, "string"), "initializer": (5, "Tensor*"), "input": (11, "Value*"),
        "output": (12, "Value*"),
    },
    "Value": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32")},
    "Node": {
        "input": (1, "string*"), "output": (2, "string*"), "name": (3, "string"), "op_type": (4, "string"),
        "attribute": (5, "Attribute*"),
    },
    "Attribute": {"name": (1, "string"), "i": (3, "int64"), "ints": (8, "int64*"), "type": (20, "int32")},
    "Tensor": {
        "dims": (1, "int64*"), "data_type": (2, "int32"), "int32_data": (5, "int32*"), "name": (8, "string"),
        "raw_data": (9, "bytes"),
    },
}  # fmt: skip
"""Message → field → number and type; "*": repeated."""
TYPES = {np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3, np.dtype(np.int64): 7}
"""numpy's type → ONNX's."""
FLOAT = TYPES[np.dtype(np.float32)]
INT, INTS = 2, 7
"""Types of attributes."""


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="parley_onnx.proto", package="parley_onnx", syntax="proto2")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            plain = kind.removesuffix("*")
            label = field_type.LABEL_REPEATED if kind != plain else field_type.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if plain in MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".parley_onnx.{plain}"
            else:
                field.type = getattr(field_type, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"parley_onnx.{name}")) for name in MESSAGES}


_CLASSES = _messages()


def read(file: Path) -> Any:
    """Return the model in a file. Raises OSError, and google.protobuf.message.DecodeError."""
    return _CLASSES["Model"].FromString(file.read_bytes())


def part(model: Any, outputs: Sequence[str], given: Sequence[str] = ()) -> Any:
    """Return a model of the operations between some values of a model. given: float32 values that become its inputs,
    beside those inputs of the model that are still needed. Raises KeyError for a value that the model does not have."""
    graph = model.graph
    described = {one.name: one for one in [*graph.input, *graph.output]}
    makers = {name: one for one in graph.node for name in one.output}
    if lacking := {*given, *outputs} - makers.keys() - described.keys():
        raise KeyError(min(lacking))
    waiting, needed = list(outputs), set(given)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += makers[name].input if name in makers else []
    made = _CLASSES["Model"](ir_version=model.ir_version, opset_import=model.opset_import)
    made.graph.name = graph.name
    computed = needed.difference(given)
    made.graph.node.extend(one for one in graph.node if computed.intersection(one.output))
    made.graph.initializer.extend(one for one in graph.initializer if one.name in needed)
    made.graph.input.extend(one for one in graph.input if one.name in needed and one.name not in given)
    made.graph.input.extend(described.get(name) or _float(name) for name in given)
    made.graph.output.extend(described.get(name) or _float(name) for name in outputs)
    return made


def _float(name: str) -> Any:
    """Return the description of a float32 value of any shape."""
    return _CLASSES["Value"](name=name, type={"tensor_type": {"elem_type": FLOAT}})


def tensor(name: str, content: NDArray[np.generic] | np.generic) -> Any:
    """Return a constant tensor of a type in TYPES."""
    return _CLASSES["Tensor"](
        name=name, dims=content.shape, data_type=TYPES[content.dtype], raw_data=np.ascontiguousarray(content).tobytes()
    )


def values(of: Any) -> NDArray[np.generic]:
    """Return the values of a constant tensor: float32 as bytes, or 8-bit numbers without sign."""
    kind = np.dtype(np.float32) if of.data_type == FLOAT else np.dtype(np.uint8)
    stored = np.frombuffer(of.raw_data, kind) if of.raw_data else np.array(of.int32_data, kind)
    return stored.reshape(tuple(of.dims))


def node(op_type: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> Any:
    """Return an operation with one output, from whose name it gets its own."""
    made = _CLASSES["Node"](op_type=op_type, input=inputs, output=[output], name=f"{output}/{op_type}")
    for name, value in attributes.items():
        if isinstance(value, int):
            made.attribute.add(name=name, i=value, type=INT)
        else:
            made.attribute.add(name=name, ints=value, type=INTS)
    return made


def attributes(of: Any) -> dict[str, list[int]]:
    """Return the attributes of a node that are whole numbers or lists of them, by name."""
    return {one.name: [one.i] if one.type == INT else list(one.ints) for one in of.attribute if one.type in (INT, INTS)}
