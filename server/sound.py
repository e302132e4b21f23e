"""The sound of a live connection: raw PCM, a WAV that is streamed, or a whole file in one message."""

import math
import struct
from dataclasses import dataclass

import numpy as np
import soxr

from pipeline.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, Samples, mono
from pipeline.errors import BadInput
from pipeline.listening.detector import RATE_HZ

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""WAVE format tags."""
_KINDS = {(PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A message that is a complete audio file of any format: one whole utterance."""

    data: bytes


@dataclass(frozen=True, slots=True)
class _Format:
    kind: str
    channels: int
    rate_hz: int

    @property
    def frame_bytes(self) -> int:
        """Of one sample of all channels."""
        return int(np.dtype(self.kind).itemsize) * self.channels


class LiveSound:
    """Bytes of one connection into float32 mono samples at 16 kHz; split samples and resampling go on over messages."""

    def __init__(self, rate: str | None) -> None:
        """rate: Hz of raw 16-bit little-endian mono PCM; None: the sound says itself what it is. Raises BadInput."""
        self._raw = rate is not None
        self._rest = b""
        self._format: _Format | None = None
        if rate is not None:
            if not rate.isascii() or not rate.isdigit() or len(rate) > 6 or not MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ:
                raise BadInput(f"rate must be from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.", code="bad_parameter")
            self._use(_Format("<i2", 1, int(rate)))

    def take(self, data: bytes, *, most_s: float = math.inf) -> Samples | WholeFile:
        """The samples of the next message, or the file that it is. Raises BadInput for a header that makes no sense,
        and for samples of more than `most_s` (audio_too_long) before they are converted."""
        if not self._raw:
            if data[:4] == b"RIFF":
                header = _wav_header(data)
                if header is None:
                    return WholeFile(data)
                form, start = header
                self._use(form)
                data = data[start:]
            elif self._format is None:
                return WholeFile(data)
        known = self._format
        assert known is not None  # noqa: S101  # seen to above
        if len(data) > most_s * known.rate_hz * known.frame_bytes:
            raise BadInput(f"The message is longer than {most_s:g} seconds; send shorter ones.", code="audio_too_long")
        return self._samples(data, known)

    def _use(self, form: _Format) -> None:
        self._format, self._rest = form, b""
        self._resampler = soxr.ResampleStream(form.rate_hz, RATE_HZ, 1, dtype="float32")

    def _samples(self, data: bytes, form: _Format) -> Samples:
        data = self._rest + data
        over = len(data) % form.frame_bytes
        self._rest = data[len(data) - over :]
        values = mono(data, form.kind, form.channels)
        if form.rate_hz == RATE_HZ:
            return values
        return np.asarray(self._resampler.resample_chunk(values), np.float32)


def _wav_header(data: bytes) -> tuple[_Format, int] | None:
    """The format of a streamed WAV and where its samples begin; None when the message is a whole file."""
    if data[8:12] != b"WAVE":
        return None
    at, form = 12, None
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if name == b"fmt " and body + 16 <= len(data):
            tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", data, body)
            if tag == EXTENSIBLE and size >= 26 and body + 26 <= len(data):
                tag = struct.unpack_from("<H", data, body + 24)[0]
            if not 1 <= channels <= MAX_CHANNELS or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
                raise BadInput(f"The header claims {rate_hz} Hz and {channels} channels.", code="bad_audio")
            kind = _KINDS.get((tag, bits))
            form = _Format(kind, channels, rate_hz) if kind else None
        if name == b"data":
            # All its samples are in this message: a file. Otherwise the rest follows in the next ones.
            if 0 < size <= len(data) - body:
                return None
            if form is None:
                raise BadInput("A streamed WAV must be 8-, 16- or 32-bit PCM, or float.", code="bad_audio")
            return form, body
        at = body + size + size % 2
    return None
