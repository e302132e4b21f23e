"""Decoders for 16-bit audio streamed from a server, raw or as WAV, to one rate."""

import struct

import numpy as np

from pipeline.audio.clip import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, Clip, mono
from pipeline.audio.stream_resampler import RateConverter

RATE_HZ = 24_000
"""Rate of all output; OpenAI's raw samples have it already."""
MAX_HEADER_BYTES = 65_536
"""Limit for a WAV header; a longer one is refused."""


class NotWav(Exception):
    """The stream is not a 16-bit WAV. The message says why."""


class PcmStream:
    """Turns signed 16-bit little-endian samples into clips of 24 kHz mono."""

    def __init__(self, rate_hz: int, channels: int = 1) -> None:
        self._rate_hz, self._channels = rate_hz, channels
        self._rest = b""
        self._converter = RateConverter(RATE_HZ)

    def push(self, data: bytes) -> Clip:
        """Take bytes, cut anywhere; return the samples that are complete."""
        data = self._rest + data
        whole = len(data) // (2 * self._channels) * 2 * self._channels
        self._rest = data[whole:]
        return Clip(self._converter.take(Clip(mono(data, "<i2", self._channels), self._rate_hz)), RATE_HZ)

    def finish(self) -> Clip:
        """Return the samples that the resampler still holds. An incomplete sample is dropped."""
        self._rest = b""
        return Clip(self._converter.end(), RATE_HZ)


class WavStream:
    """Turns a WAV into clips of 24 kHz mono. Ignores its sizes, which are wrong in streamed WAVs."""

    def __init__(self) -> None:
        self._header = b""
        self._samples: PcmStream | None = None

    def push(self, data: bytes) -> Clip:
        """Take bytes, cut anywhere; return the samples that are complete. Raises NotWav."""
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
        """End the stream and return the rest. Raises NotWav when the header was never complete."""
        if self._samples is None:
            raise NotWav("a WAV without samples")
        return self._samples.finish()

    def _parse(self) -> bytes | None:
        """Return the bytes after the header once it is complete: RIFF, then chunks (id, size, content) until "data"."""
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
    # 0xFFFE: WAVE_FORMAT_EXTENSIBLE, which can also contain 16-bit PCM.
    if kind not in (1, 0xFFFE) or bits != 16:
        raise NotWav(f"a WAV of {bits} bits")
    if not 1 <= channels <= MAX_CHANNELS or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise NotWav(f"a WAV of {channels} channels at {rate_hz} Hz")
    return PcmStream(rate_hz, channels)
