"""What goes over the socket between a worker and its process: length-prefixed pickles.

Both ends are our own code on one machine, over an anonymous socket pair: nobody else can write to it.
"""

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Call:
    """To the process: run a method of the engine."""

    number: int
    method: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """To the process: run these calls of one method together."""

    calls: Sequence[Call]


@dataclass(frozen=True, slots=True)
class Cancel:
    """To the process: stop that call at its next item."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """From the process: the engine is loaded."""


@dataclass(frozen=True, slots=True)
class Item:
    """From the process: the next item of a generator method."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class Ran:
    """When and where the engine worked on a call. Told with its end and not traced by the process itself, which may be
    killed at any time and shall be spared the tracing's threads and connections."""

    pid: int
    began_ns: int
    """Of the system's clock, as the other end has it."""
    ended_ns: int
    together: int = 1
    """Calls in the same batch."""


@dataclass(frozen=True, slots=True)
class Done:
    """From the process: the call ended; `value` is what an ordinary method returned."""

    number: int
    value: Any = None
    ran: Ran | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """From the process: the call (or, with number 0, the engine's constructor) raised."""

    number: int
    error: Exception
    ran: Ran | None = None


def pack(message: object) -> bytes:
    """One framed message. An exception that cannot be pickled becomes an EngineError with its text."""
    from pipeline.errors import EngineError

    try:
        body = pickle.dumps(message, protocol=5)
        if isinstance(message, Failed):
            pickle.loads(body)  # noqa: S301  # some exceptions pickle but cannot be built again: found here, not there
    except Exception:
        if not isinstance(message, Failed):
            raise
        plain = EngineError(f"{type(message.error).__name__}: {message.error}")
        body = pickle.dumps(Failed(message.number, plain, message.ran), protocol=5)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes | bytearray) -> Any:
    """The message in a frame's body."""
    return pickle.loads(body)  # noqa: S301  # see the module's docstring
