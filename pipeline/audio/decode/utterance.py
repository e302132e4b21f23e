"""Decoding of a whole file in memory, or of a reference recording, into one clip at its own rate."""

import asyncio
import contextlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import wav
from pipeline.audio.decode.limits import TEXT_HEAD, refuse_text, too_long
from pipeline.audio.decode.mixing import Mono
from pipeline.audio.decode.processes import TURNS, Stopping, called, called_async, descriptor
from pipeline.audio.decode.recording import Recording
from pipeline.audio.decode.wire import Frame, Told
from pipeline.errors import BadInput
from pipeline.workers.caller import current

CHECKED_S = 86_400.0
"""Length limit for a reference recording, in seconds; engines use half a minute of it."""
INLINE_BYTES = 2**20
"""A plain WAV up to this size is read on the event loop: a thread would take longer, because it waits for others."""
INLINE_LINKS = 4
"""The same limit in files of a chain; thousands take a quarter of a second."""


async def decode(data: bytes, *, max_seconds: float) -> Clip:
    """Decode a whole file in memory, in any format. Cancelling leaves no process behind.

    Channels are mixed. The rate is the file's own: that of its beginning if it changes. A truncated file yields the
    samples it has. Decoding stops as soon as `max_seconds` is passed, whatever the header claims.
    Raises BadInput: empty_message, bad_audio (not audio, or broken from the start), no_audio (no sample in it),
    audio_too_long; Overloaded.
    """
    _check(data)
    if wav.is_plain(io.BytesIO(data)):
        if len(data) <= INLINE_BYTES and data.count(b"WAVE") <= INLINE_LINKS:
            return _plain(data, max_seconds)
        return await asyncio.to_thread(_plain, data, max_seconds)
    frames = called_async(TURNS, TURNS.request(max_seconds), descriptor(data), len(data), current().account)
    collected = _Collected()
    async with contextlib.aclosing(frames):
        async for frame in frames:
            collected.take(frame)
    return collected.clip()


def decode_blocking(data: bytes, *, max_seconds: float) -> Clip:
    """Do the same in a thread, or in a process without an event loop."""
    _check(data)
    if wav.is_plain(io.BytesIO(data)):
        return _plain(data, max_seconds)
    frames = called(TURNS, TURNS.request(max_seconds), descriptor(data), len(data), Stopping(), current().account)
    collected = _Collected()
    with contextlib.closing(frames):
        for frame in frames:
            collected.take(frame)
    return collected.clip()


def check_sound(path: Path) -> None:
    """Raise BadInput unless the file is a recording with at least one sample, OSError if it cannot be read.
    Blocking."""
    with path.open("rb") as file, contextlib.closing(Recording(file, max_seconds=CHECKED_S).blocks(0.0)) as blocks:
        next(blocks)


class _Collected:
    """The collected frames of one file."""

    def __init__(self) -> None:
        self._rate_hz = 0
        self._pieces: list[Samples] = []

    def take(self, frame: Frame) -> None:
        if isinstance(frame, Told):
            self._rate_hz = frame.rate_hz
        elif isinstance(frame, np.ndarray):
            self._pieces.append(frame)

    def clip(self) -> Clip:
        return _clip(self._pieces, self._rate_hz)


def _check(data: bytes) -> None:
    if not data:
        raise BadInput("The message is empty; send an audio file.", code="empty_message")
    refuse_text(data[:TEXT_HEAD])


def _plain(data: bytes, max_seconds: float) -> Clip:
    one: Mono | None = None
    rate_hz, count = 0, 0
    pieces: list[Samples] = []
    for form, frames in wav.blocks(io.BytesIO(data), 1.0):
        if one is None:
            one, rate_hz = Mono(form.rate_hz), form.rate_hz
        for piece in one.feed(form.rate_hz, form.names, frames):
            pieces.append(piece)
            count += len(piece)
        if count > max_seconds * rate_hz:
            raise too_long(max_seconds)
    if one is not None:
        pieces.append(one.finish())
        if count + len(pieces[-1]) > max_seconds * rate_hz:
            raise too_long(max_seconds)
    return _clip(pieces, rate_hz)


def _clip(pieces: Iterable[Samples], rate_hz: int) -> Clip:
    pieces = [piece for piece in pieces if len(piece)]
    if not pieces:
        raise BadInput("The file has no audio samples.", code="no_audio")
    return Clip(np.concatenate(pieces), rate_hz)
