"""Messages on the socket between a worker and its process: length-prefixed pickles.

Both ends are our own code on one machine, with an anonymous socket pair that no other process can write to.
"""

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Call:
    """Request to the process: run a method of the engine."""

    number: int
    method: str
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Request to the process: run these calls of one method together."""

    calls: Sequence[Call]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Request to the process: stop the call at its next item."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Message of the process: the engine is loaded."""


@dataclass(frozen=True, slots=True)
class Item:
    """Message of the process: the next item of a generator method."""

    number: int
    value: object


@dataclass(frozen=True, slots=True)
class Ran:
    """Time and place of the engine's work on a call. Sent when the call ends. The process itself does not trace: it can
    be killed at any time, and should not need the tracing's threads and connections."""

    pid: int
    began_ns: int
    """Time on the system's clock, which the other end uses, too."""
    ended_ns: int
    together: int = 1
    """Calls in the same batch."""


@dataclass(frozen=True, slots=True)
class Done:
    """Message of the process: the call ended; `value` is what an ordinary method returned."""

    number: int
    value: object = None
    ran: Ran | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Message of the process: the call (or, with number 0, the engine's constructor) raised."""

    number: int
    error: Exception
    ran: Ran | None = None


Answer = Ready | Item | Done | Failed
"""Message of the process."""


def dump(message: object) -> bytes:
    """Return a message as bytes. An exception that cannot be pickled becomes an EngineError with its text."""
    from pipeline.errors import EngineError

    try:
        body = pickle.dumps(message, protocol=5)
        if isinstance(message, Failed):
            pickle.loads(body)  # noqa: S301  # some exceptions can be pickled but not unpickled: detect it here
    except Exception:
        if not isinstance(message, Failed):
            raise
        plain = EngineError(f"{type(message.error).__name__}: {message.error}")
        body = pickle.dumps(Failed(message.number, plain, message.ran), protocol=5)
    return body


def pack(message: object) -> bytes:
    """Pack a message into a frame; see `dump`."""
    body = dump(message)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes | bytearray) -> Any:
    """Unpack the message in a frame's body."""
    return pickle.loads(body)  # noqa: S301  # see the module's docstring
