"""Reads gguf files that may be damaged or hostile.

Each count and each length is compared with the bytes that are left in the file before anything is read or allocated, so
that reading costs no more memory than the file's own size suggests.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from pipeline.errors import BadInput

VERSIONS = (2, 3)
MAX_ITEMS = 2_000_000
"""Most items of one list: the largest vocabularies have 262,144 tokens and twice as many merges."""
MAX_METADATA = 128 * 2**20
"""Most bytes before the weights."""
MAX_DIMENSIONS = 4
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of numbers in gguf → their form in `struct`."""
_STRING, _LIST = 8, 9
_LEAST_PAIR, _LEAST_TENSOR = 13, 32
"""Bytes of the shortest possible entry."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """The place of one tensor in the file."""

    shape: tuple[int, ...]
    """Rows first."""
    kind: GGMLQuantizationType
    start: int
    size: int
    """Bytes."""


class GgufFile:
    """An open file: its metadata, and its tensors when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Read everything before the weights. Raises BadInput when it is malformed, OSError when it cannot be
        opened."""
        with path.open("rb") as file:
            try:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise _damaged("it is empty") from None
        self._at = 0
        if self._data[:4] != b"GGUF":
            raise _damaged("it does not begin with GGUF")
        self._skip(4)
        version = self._number("I")
        if version not in VERSIONS:
            raise _damaged(f"its version is {version}, and only {' and '.join(map(str, VERSIONS))} can be read")
        tensors, pairs = self._count(_LEAST_TENSOR), self._count(_LEAST_PAIR)
        self.metadata: dict[str, object] = {}
        for _ in range(pairs):
            name = self._string()
            if name in self.metadata:
                raise _damaged(f"{name[:60]!r} occurs twice")
            self.metadata[name] = self._value(self._number("I"))
        found = [self._tensor() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 2**16:
            raise _damaged("general.alignment is not a possible one")
        begin = -(-self._at // alignment) * alignment
        self.tensors = {name: Tensor(shape, kind, begin + start, size) for name, shape, kind, start, size in found}
        if len(self.tensors) < tensors:
            raise _damaged("two tensors have the same name")
        if any(tensor.start + tensor.size > len(self._data) for tensor in self.tensors.values()):
            raise _damaged("it ends before its weights")
        if sum(tensor.size for tensor in self.tensors.values()) > len(self._data):
            raise _damaged("its tensors overlap")

    def weights(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return a tensor in float32. Raises BadInput when it is missing or has another shape."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise BadInput(f"The gguf file lacks the weights {name}.")
        if tensor.shape != shape:
            raise BadInput(f"The weights {name} have the shape {tensor.shape} instead of {shape}.")
        stored = np.frombuffer(self._data, np.uint8, tensor.size, tensor.start)
        try:
            plain = dequantize(stored.reshape(*shape[:-1], -1), tensor.kind)
        except NotImplementedError:
            raise BadInput(f"The number format {tensor.kind.name} of {name} is not supported.") from None
        return np.array(plain, dtype=np.float32, order="C").reshape(shape)

    def _tensor(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int, int]:
        name, dimensions = self._string(), self._number("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise _damaged(f"{name[:60]!r} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        number, start = self._number("I"), self._number("Q")
        try:
            kind = GGMLQuantizationType(number)
            block, size = GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            raise _damaged(f"{name[:60]!r} has the unknown number format {number}") from None
        if not all(shape) or shape[-1] % block:
            raise _damaged(f"{name[:60]!r} has an impossible shape")
        return name, shape, kind, start, prod(shape) // block * size

    def _value(self, kind: int) -> object:
        if kind == _STRING:
            return self._string()
        if kind in _NUMBERS:
            return self._read(_NUMBERS[kind])[0]
        if kind != _LIST:
            raise _damaged(f"a value has the unknown type {kind}")
        inner = self._number("I")
        if inner == _STRING:
            return [self._string() for _ in range(self._count(8))]
        if inner not in _NUMBERS:
            raise _damaged("a list contains lists")
        form = _NUMBERS[inner]
        return list(self._read(f"{self._count(struct.calcsize(form))}{form}"))

    def _count(self, least: int) -> int:
        """Read a number of entries, each of at least this many bytes."""
        count = self._number("Q")
        if count > MAX_ITEMS or count * least > len(self._data) - self._at:
            raise _damaged(f"it claims {count} entries where it has no room for them")
        return count

    def _string(self) -> str:
        length = self._number("Q")
        start = self._at
        self._skip(length)
        return self._data[start : start + length].decode(errors="replace")

    def _number(self, form: str) -> int:
        """Read a whole number."""
        return int(self._read(form)[0])

    def _read(self, form: str) -> tuple[float, ...]:
        """Read numbers."""
        start = self._at
        self._skip(struct.calcsize(f"<{form}"))
        return struct.unpack_from(f"<{form}", self._data, start)

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            raise _damaged("it ends too early")
        self._at += count
        if self._at > MAX_METADATA:
            raise _damaged("its metadata are larger than 128 MB")


def _damaged(reason: str) -> BadInput:
    """Return the error for a file that is not a proper gguf file."""
    return BadInput(f"The file cannot be read as a gguf file: {reason}.")
