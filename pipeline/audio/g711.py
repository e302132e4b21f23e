"""µ-law and A-law, the codecs of the telephone network: 8 bits a sample (ITU-T G.711)."""

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.clip import Clip, Samples

RATE_HZ = 8_000


def from_mulaw(data: bytes) -> Samples:
    """Return the samples of µ-law bytes."""
    return _MULAW[np.frombuffer(data, np.uint8)]


def from_alaw(data: bytes) -> Samples:
    """Return the samples of A-law bytes."""
    return _ALAW[np.frombuffer(data, np.uint8)]


def to_mulaw(samples: Samples) -> bytes:
    """Encode samples as µ-law."""
    linear = _linear(samples)
    magnitude = np.minimum(np.abs(linear), 32_635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    coded: NDArray[np.int32] = ~(np.where(linear < 0, 0x80, 0) | (exponent << 4) | mantissa) & 0xFF
    return coded.astype(np.uint8).tobytes()


def to_alaw(samples: Samples) -> bytes:
    """Encode samples as A-law."""
    linear = _linear(samples)
    negative = linear < 0
    magnitude = np.minimum(np.where(negative, -linear - 1, linear), 32_767)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 7, 0)
    mantissa = (magnitude >> np.where(exponent > 0, exponent + 3, 4)) & 0x0F
    coded: NDArray[np.int32] = (np.where(negative, 0, 0x80) | (exponent << 4) | mantissa) ^ 0x55
    return coded.astype(np.uint8).tobytes()


def _linear(samples: Samples) -> NDArray[np.int32]:
    """Return the samples as 16-bit numbers."""
    return np.frombuffer(Clip(samples, RATE_HZ).pcm16(), "<i2").astype(np.int32)


def _mulaw_table() -> Samples:
    """Return the sample for each µ-law byte."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> Samples:
    """Return the sample for each A-law byte."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent > 0, (mantissa + 0x108) << np.maximum(exponent - 1, 0), mantissa + 8)
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


_MULAW, _ALAW = _mulaw_table(), _alaw_table()
