"""Reading and changing an ONNX file with protobuf, which onnxruntime depends on: the `onnx` package would add 31 MB.

The messages below have only the fields that are read or written here; protobuf keeps all others as they are. Numbers
are those of onnx.proto3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MESSAGES = {
    "Model": {"graph": (7, "Graph")},
    "Graph": {"node": (1, "Node*"), "initializer": (5, "Tensor*")},
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
TYPES = {np.dtype(np.uint8): 2, np.dtype(np.int8): 3, np.dtype(np.int64): 7}
"""numpy's type → ONNX's."""
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


def tensor(name: str, content: np.ndarray[Any, Any]) -> Any:
    """Return a constant tensor of a type in TYPES."""
    return _CLASSES["Tensor"](
        name=name, dims=content.shape, data_type=TYPES[content.dtype], raw_data=np.ascontiguousarray(content).tobytes()
    )


def values(of: Any) -> np.ndarray[Any, Any]:
    """Return the values of a constant tensor of 8-bit numbers without sign."""
    stored = np.frombuffer(of.raw_data, np.uint8) if of.raw_data else np.array(of.int32_data, np.uint8)
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
