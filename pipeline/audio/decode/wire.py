"""The messages between the service and a decoding process: the request, and the frames that the process sends.

The process has read untrusted bytes and may do anything, so its frames are parsed and bounded here: a byte for the
kind, four for the length, then JSON or raw float32 samples. Nothing is unpickled.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.audio.clip import MAX_RATE_HZ, MIN_RATE_HZ, Samples
from pipeline.errors import BadInput

HEAD = struct.Struct("<cI")
SAMPLES, TOLD, BUSY, FAILED, DONE = b"S", b"T", b"B", b"F", b"D"
"""Kinds of frames: samples; what the file claims about itself; still at work; an error; the end."""
MAX_BLOCK = 2**18
"""Maximum number of samples in one frame."""
MAX_TEXT_BYTES = 4096
"""Limit for an error and for a description; a longer one does not come from this code."""
CODES = frozenset({"bad_audio", "no_audio", "audio_too_long", "bad_parameter"})
"""Error codes that a decoding process is allowed to report."""
PARAMS = frozenset({"audio_track"})
_LIMITS = {SAMPLES: 4 * MAX_BLOCK, TOLD: MAX_TEXT_BYTES, BUSY: 0, FAILED: MAX_TEXT_BYTES, DONE: 0}


@dataclass(frozen=True, slots=True)
class Request:
    """One file to decode, with its limits. The request is sent as JSON, the file as a descriptor."""

    max_seconds: float
    rate_hz: int | None
    """Rate of the samples to return; None: the file's own."""
    track: int | None
    """Audio track, from 0; None: the one that a player would take."""
    seekable: bool
    """Whether the descriptor is a file; otherwise it is a pipe that is still being written."""
    open_s: float
    """CPU seconds until the first sample."""
    decode_s: float
    """CPU seconds for each second of sound."""
    memory_bytes: int
    """Address space in addition to what the process begins with."""

    def packed(self) -> bytes:
        """Return the request as JSON."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def unpacked(data: bytes) -> "Request":
        return Request(**json.loads(data))


@dataclass(frozen=True, slots=True)
class Told:
    """The claims of the file about itself; sent before its first sample."""

    duration_s: float | None
    rate_hz: int
    """Rate of the samples that follow."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The process is at work and has no samples yet."""


@dataclass(frozen=True, slots=True)
class Done:
    """The last frame of a file whose decoding succeeded."""


Frame = Samples | Told | Busy | Done


class Misbehaved(Exception):
    """The process sent something that this code never sends."""


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """Pack one frame, as the decoding process sends it."""
    return HEAD.pack(kind, len(body)) + body


class Frames:
    """Parses bytes into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the complete frames. Raises Misbehaved, and the BadInput that the process reports."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= HEAD.size:
                kind, size = HEAD.unpack_from(self._data, at)
                if size > _LIMITS.get(kind, -1):
                    raise Misbehaved
                if len(self._data) - at - HEAD.size < size:
                    return
                body = bytes(self._data[at + HEAD.size : at + HEAD.size + size])
                at += HEAD.size + size
                yield _frame(kind, body)
        finally:
            del self._data[:at]


def _frame(kind: bytes, body: bytes) -> Frame:
    if kind == SAMPLES:
        values = np.frombuffer(body, "<f4", count=len(body) // 4).astype(np.float32)
        return np.clip(np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)
    if kind == BUSY:
        return Busy()
    if kind == DONE:
        return Done()
    try:
        told = json.loads(body)
        result = _error(told) if kind == FAILED else _told(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Misbehaved from None
    if isinstance(result, BadInput):
        raise result
    return result


def _told(told: Mapping[str, object]) -> Told:
    duration_s, rate_hz = told["duration_s"], told["rate_hz"]
    if (
        not isinstance(duration_s, int | float | None)
        or not isinstance(rate_hz, int)
        or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ
    ):
        raise ValueError
    return Told(None if duration_s is None else max(0.0, float(duration_s)), rate_hz)


def _error(told: Mapping[str, object]) -> BadInput:
    code, message, param = told["code"], told["message"], told.get("param")
    if not isinstance(code, str) or code not in CODES or not isinstance(message, str):
        raise ValueError
    return BadInput(message, code=code, param=param if isinstance(param, str) and param in PARAMS else None)
