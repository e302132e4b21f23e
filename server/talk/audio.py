"""Audio of a live connection: raw PCM, a streamed WAV, or a whole file in one message."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.audio.clip import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, Samples
from pipeline.audio.decode import wav
from pipeline.audio.decode.mixing import Mono
from pipeline.audio.decode.wav import EXTENSIBLE, Format
from pipeline.errors import BadInput
from pipeline.listening.detector import RATE_HZ

STEP_S = 1.0
"""Sound converted at a time, in seconds: some milliseconds of work."""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A message with a complete audio file of any format: one whole utterance."""

    data: bytes


class LiveSound:
    """Convert the bytes of one connection to float32 mono samples at 16 kHz. Samples can be split between messages, and
    resampling continues across them."""

    def __init__(self, rate: str | None) -> None:
        """rate: Hz of raw 16-bit little-endian mono PCM; None: the audio has a header. Raises BadInput."""
        self._raw = rate is not None
        self._rest = b""
        self._format: Format | None = None
        if rate is not None:
            if not rate.isascii() or not rate.isdigit() or len(rate) > 6 or not MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ:
                raise BadInput(f"rate must be from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.", code="bad_parameter")
            self._use(Format("<i2", int(rate), ("",)))

    def take(self, data: bytes, *, most_s: float = math.inf) -> Iterator[Samples] | WholeFile:
        """Return the samples of the next message, which are converted second by second, or the whole file in it. Raises
        BadInput for an invalid header, and, before the conversion, for more than `most_s` seconds (audio_too_long)."""
        if not self._raw:
            if data[:4] == b"RIFF":
                header = _wav_header(data)
                if header is None:
                    return WholeFile(data)
                begun, start = header
                self._use(begun)
                data = data[start:]
            elif self._format is None:
                return WholeFile(data)
        known = self._format
        assert known is not None  # noqa: S101  # the branches above ensure it
        if len(data) > most_s * known.rate_hz * known.frame_bytes:
            raise BadInput(f"The message is longer than {most_s:g} seconds; send shorter ones.", code="audio_too_long")
        return self._samples(data, known)

    @property
    def narrow_band(self) -> bool:
        """See `Ear.narrow_band`."""
        return self._format is not None and self._format.rate_hz < RATE_HZ

    def _use(self, form: Format) -> None:
        self._format, self._rest = form, b""
        self._mono = Mono(RATE_HZ, block_s=0.0, live=True)

    def _samples(self, data: bytes, form: Format) -> Iterator[Samples]:
        data = self._rest + data
        whole = len(data) // form.frame_bytes * form.frame_bytes
        self._rest = data[whole:]
        step = int(STEP_S * form.rate_hz) * form.frame_bytes
        for start in range(0, whole, step):
            values = wav.values(data[start : min(start + step, whole)], form)
            yield from self._mono.feed(form.rate_hz, form.names, values)


def _wav_header(data: bytes) -> tuple[Format, int] | None:
    """Return the format of a streamed WAV and the offset of its samples; None if the message is a whole file."""
    if data[8:12] != b"WAVE":
        return None
    at, form = 12, None
    for _ in range(wav.MAX_CHUNKS):
        if at + 8 > len(data):
            break
        name, size = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if name == b"fmt " and body + 16 <= len(data):
            tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", data, body)
            if tag == EXTENSIBLE and size >= 26 and body + 26 <= len(data):
                tag = struct.unpack_from("<H", data, body + 24)[0]
            if not 1 <= channels <= MAX_CHANNELS or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
                raise BadInput(
                    f"The WAV header has an unsupported format: {rate_hz} Hz, {channels} channels.", code="bad_audio"
                )
            kind = wav.KINDS.get((tag, bits))
            form = Format(kind, rate_hz, ("",) * channels) if kind else None
        if name == b"data":
            # If all samples are in this message, it is a file. Otherwise the rest follows in the next messages.
            if 0 < size <= len(data) - body:
                return None
            if form is None:
                raise BadInput("A streamed WAV must be 8-, 16-, 24- or 32-bit PCM, or float.", code="bad_audio")
            return form, body
        at = body + size + size % 2
    return None
