"""The metadata of a gguf file, each value checked where it is read."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pipeline.errors import BadInput

T = TypeVar("T")


class Metadata:
    """The key-value pairs of a file. The names of those of the model begin with the architecture."""

    def __init__(self, pairs: Mapping[str, object]) -> None:
        """Raises BadInput when the architecture or the vocabulary is missing."""
        self._pairs = pairs
        self.architecture = self.text("general.architecture")
        self.tokens: Sequence[str] = self.strings("tokenizer.ggml.tokens")
        """The vocabulary."""

    def get(self, key: str, default: object = None) -> object:
        """Return a value. Raises BadInput when it is missing and has no default."""
        value = self._pairs.get(key, default)
        if value is None:
            raise BadInput(f"The gguf file lacks {key}.")
        return value

    def of_model(self, key: str, default: object = None) -> object:
        """Return a value of the model."""
        return self.get(f"{self.architecture}.{key}", default)

    def integer(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """Return an integer of the model within these bounds. Raises BadInput."""
        value = self.of_model(key, default)
        if not isinstance(value, int) or not least <= value <= most:
            raise _wrong(f"{self.architecture}.{key}", value)
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a finite positive number of the model. Raises BadInput."""
        value = self.of_model(key, default)
        if not isinstance(value, int | float) or not (0 < value < math.inf):
            raise _wrong(f"{self.architecture}.{key}", value)
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string. Raises BadInput."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise _wrong(key, value)
        return value

    def strings(self, key: str, default: Sequence[str] | None = None) -> Sequence[str]:
        """Return a list of strings. Raises BadInput."""
        return self._items(key, str, default)

    def integers(self, key: str) -> Sequence[int]:
        """Return a list of integers. Raises BadInput."""
        return self._items(key, int)

    def numbers(self, key: str) -> Sequence[float]:
        """Return a list of numbers. Raises BadInput."""
        return self._items(key, float)

    def _items(self, key: str, kind: type[T], default: Sequence[T] | None = None) -> Sequence[T]:
        value, taken = self.get(key, default), (float, int) if kind is float else kind
        if not isinstance(value, list | tuple) or not all(isinstance(item, taken) for item in value):
            raise _wrong(key, value)
        return value

    def token(self, key: str) -> str | None:
        """Return the token with the number in `key`, or None when there is none. Raises BadInput."""
        number = self._pairs.get(f"tokenizer.ggml.{key}")
        if number is None or number in (-1, 2**32 - 1):
            return None
        if not isinstance(number, int) or not 0 <= number < len(self.tokens):
            raise _wrong(f"tokenizer.ggml.{key}", number)
        return self.tokens[number]


def _wrong(key: str, value: object) -> BadInput:
    return BadInput(f"The gguf file's {key} cannot be {str(value)[:40]!r}.")
