"""The Opus encoder of calls: mono speech with forward error correction."""

from fractions import Fraction

import numpy as np
from av import AudioFrame, CodecContext
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

RATE_HZ = 48_000
"""Opus's own rate, that of its timestamps, too."""
TIME_BASE = Fraction(1, RATE_HZ)
FRAME_MS = 20
"""Duration of a packet, the usual one of Opus."""
FRAME = RATE_HZ * FRAME_MS // 1000
BITS_PER_S = 32_000
"""Speech without audible loss (RFC 6716, 2.1.1), with a copy of each packet in the next one."""
OPTIONS = {"application": "voip", "fec": "1", "packet_loss": "5", "compression_level": "2"}
"""fec: a receiver restores a lost packet from the next one. compression_level: Opus's complexity, 10 at most."""
SILENCE = b"\xf8"
"""A packet of discontinuous transmission (RFC 6716, 3.1: a frame of 0 bytes). After it browsers keep silence until the
next packet; after a longer one a gap counts as loss for them, and makes them delay what follows."""


class SpeechEncoder:
    """Encodes frames of 20 ms, one packet each, without further delay than Opus's own."""

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)  # noqa: S101  # by its name
        codec.bit_rate = BITS_PER_S
        codec.format = "s16"
        codec.layout = "mono"
        codec.options = dict(OPTIONS)
        codec.sample_rate = RATE_HZ
        codec.time_base = TIME_BASE
        self._codec = codec
        self._frames = 0

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return the packet of a frame. samples: mono at 48 kHz, shape (960,). It takes some 0.1 ms."""
        frame = AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, TIME_BASE, self._frames * FRAME
        self._frames += 1
        return b"".join(map(bytes, self._codec.encode(frame)))
