"""Audio inside Parley: float32 mono in [-1, 1] with a rate; 16-bit at the transports."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
MAX_CHANNELS = 64
"""Limits for a plausible header: beyond them it is garbage, and nothing is allocated for it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Sound in memory: float32 mono samples, shape (n,), nominally in [-1, 1], at `rate_hz`."""

    samples: Samples
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    def at(self, rate_hz: int) -> "Clip":
        """Return the same sound at another rate (soxr, high quality)."""
        if rate_hz == self.rate_hz:
            return self
        return Clip(soxr.resample(self.samples, self.rate_hz, rate_hz).astype(np.float32, copy=False), rate_hz)

    def pcm16(self) -> bytes:
        """Return signed 16-bit little-endian samples; values beyond [-1, 1] are clipped, NaN becomes silence."""
        clean = np.clip(self.samples, -1.0, 1.0)
        clean[np.isnan(clean)] = 0.0
        clean *= 32767.0
        return np.rint(clean, out=clean).astype("<i2").tobytes()

    @staticmethod
    def from_pcm16(data: bytes, rate_hz: int) -> "Clip":
        """Convert signed 16-bit little-endian mono; an odd last byte is dropped."""
        return Clip(mono(data, "<i2"), rate_hz)

    @staticmethod
    def join(clips: Iterable["Clip"], rate_hz: int) -> "Clip":
        """Join all clips into one at `rate_hz`; without clips it is empty."""
        parts = [clip.at(rate_hz).samples for clip in clips]
        return Clip(np.concatenate(parts) if parts else np.zeros(0, np.float32), rate_hz)


def mono(data: bytes, kind: str, channels: int = 1) -> Samples:
    """Convert interleaved PCM to one channel in [-1, 1], the mean of all channels; an incomplete last frame is dropped.

    kind: sample type as numpy names it: u1 (128 is silence), <i2, <i4, <f4, <f8.
    """
    # For live sound this runs on the event loop, fifty times a second per user: do only what the kind needs.
    dtype = np.dtype(kind)
    whole = len(data) // (dtype.itemsize * channels) * channels
    values: Samples = np.frombuffer(data, dtype, count=whole).astype(np.float32)
    if dtype.kind == "f":
        np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(values, -1.0, 1.0, out=values)
    if channels > 1:
        values = values.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    if dtype.kind == "u":
        return (values - np.float32(128)) / np.float32(128)
    if dtype.kind == "i":
        values *= np.float32(2.0 ** (1 - 8 * dtype.itemsize))
    return values


def wav_header(rate_hz: int, data_bytes: int) -> bytes:
    """Return the 44-byte header of a 16-bit mono WAV with `data_bytes` of samples (RIFF WAVE, PCM)."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16, b"data", data_bytes,
    )  # fmt: skip


def encode_wav(clip: Clip) -> bytes:
    """Encode as a 16-bit mono WAV file."""
    pcm = clip.pcm16()
    return wav_header(clip.rate_hz, len(pcm)) + pcm
