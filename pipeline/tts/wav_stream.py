"""16-bit sound as it arrives from a server, raw or as WAV, at one rate."""

import struct

import numpy as np
import soxr

from pipeline.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, Clip, mono

RATE_HZ = 24_000
"""Of everything that comes out; OpenAI's raw samples have it already."""
MAX_HEADER_BYTES = 65_536
"""A WAV whose samples begin later than this is garbage."""


class NotWav(Exception):
    """What arrives is no 16-bit WAV. The message says why."""


class PcmStream:
    """Signed 16-bit little-endian samples in, clips of 24 kHz mono out."""

    def __init__(self, rate_hz: int, channels: int = 1) -> None:
        self._channels = channels
        self._rest = b""
        self._resampler = None if rate_hz == RATE_HZ else soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")

    def push(self, data: bytes, *, last: bool = False) -> Clip:
        """Take bytes, cut anywhere; the samples that are whole by now."""
        data = self._rest + data
        whole = len(data) // (2 * self._channels) * 2 * self._channels
        self._rest = data[whole:]
        samples = mono(data, "<i2", self._channels)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        return Clip(samples, RATE_HZ)

    def finish(self) -> Clip:
        """What the resampler still holds. A sample cut in half is dropped."""
        self._rest = b""
        return self.push(b"", last=True)


class WavStream:
    """A WAV in, clips of 24 kHz mono out. Its sizes are not believed: streamed WAVs lie about them."""

    def __init__(self) -> None:
        self._header = b""
        self._samples: PcmStream | None = None

    def push(self, data: bytes) -> Clip:
        """Take bytes, cut anywhere. Raises NotWav."""
        if self._samples is not None:
            return self._samples.push(data)
        self._header += data
        rest = self._parse()
        if rest is None or self._samples is None:
            if len(self._header) > MAX_HEADER_BYTES:
                raise NotWav("a WAV without samples")
            return Clip(np.zeros(0, np.float32), RATE_HZ)
        return self._samples.push(rest)

    def finish(self) -> Clip:
        """The end. Raises NotWav when there never was a beginning."""
        if self._samples is None:
            raise NotWav("a WAV without samples")
        return self._samples.finish()

    def _parse(self) -> bytes | None:
        """What follows the header, once it is there: RIFF, then chunks (id, size, content) until "data"."""
        header = self._header
        if len(header) < 12:
            return None
        if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
            raise NotWav("not a WAV")
        at = 12
        form: tuple[int, int, int, int] | None = None
        while at + 8 <= len(header):
            name, size = struct.unpack_from("<4sI", header, at)
            at += 8
            if name == b"data":
                if form is None:
                    raise NotWav("a WAV without a format")
                self._samples = _stream(*form)
                return header[at:]
            if name == b"fmt ":
                if at + 16 > len(header):
                    return None
                kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", header, at)
                form = (kind, channels, rate_hz, bits)
            at += size + size % 2
        return None


def _stream(kind: int, channels: int, rate_hz: int, bits: int) -> PcmStream:
    # 0xFFFE: WAVE_FORMAT_EXTENSIBLE, which 16-bit PCM may be written as.
    if kind not in (1, 0xFFFE) or bits != 16:
        raise NotWav(f"a WAV of {bits} bits")
    if not 1 <= channels <= MAX_CHANNELS or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise NotWav(f"a WAV of {channels} channels at {rate_hz} Hz")
    return PcmStream(rate_hz, channels)
