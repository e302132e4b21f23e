"""Encode speech for sending: clips into one file of any of six formats, as a stream of bytes with one header.

Decoders must be able to start before the end is known, so the encoder never seeks back.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import soxr

from pipeline.audio.clip import Clip, Samples, wav_header
from pipeline.audio.speed import Tempo

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio import AudioStream

RATE_HZ = 24_000
"""Rate of all encoded speech: OpenAI's rate, and supported by each codec."""
UNKNOWN = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Format:
    """Settings of one output format."""

    media_type: str
    container: str = ""
    """FFmpeg's muxer; empty: raw samples."""
    codec: str = ""
    sample: str = "s16"
    """FFmpeg's name of the sample format that the encoder takes."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of the muxer."""
    bit_rate: int | None = None


FORMATS: Mapping[str, Format] = {
    "mp3": Format("audio/mpeg", "mp3", "libmp3lame", "s16p", (("write_xing", "0"), ("id3v2_version", "0")), 64_000),
    # Pages of 200 ms: the default of 1 s would delay the first audio by 1 s.
    "opus": Format("audio/ogg", "ogg", "libopus", "s16", (("page_duration", "200000"),), 32_000),
    "aac": Format("audio/aac", "adts", "aac", "fltp", (), 64_000),
    "flac": Format("audio/flac", "flac", "flac", "s16"),
    "wav": Format("audio/wav"),
    "pcm": Format("audio/pcm"),
}
"""Output formats for speech. `pcm` is 16-bit little-endian mono at RATE_HZ."""


class Encoder:
    """Encode clips to bytes. Blocking; well under 1 % of a core per stream. The first clip sets the input rate."""

    def __init__(self, kind: str, *, speed: float = 1.0) -> None:
        """kind: a key of FORMATS. speed: see `pipeline.audio.speed`; the pitch does not change."""
        self._form = FORMATS[kind]
        self._kind = kind
        self._speed = speed
        self._rate_hz = 0
        self._tempo: Tempo | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._muxer = _Muxer(self._form) if self._form.container else None
        self._begun = False

    def feed(self, clip: Clip) -> bytes:
        """Return the bytes that can be sent now; empty while an encoder still collects its first frame."""
        if not self._rate_hz:
            self._rate_hz = clip.rate_hz
            self._tempo = Tempo(clip.rate_hz, self._speed) if self._speed != 1.0 else None
            self._resampler = soxr.ResampleStream(clip.rate_hz, RATE_HZ, 1, dtype="float32")
        samples = clip.at(self._rate_hz).samples
        return self._write(self._tempo.feed(samples) if self._tempo else samples, last=False)

    def finish(self) -> bytes:
        """Return the rest; without any sound, the result is still a complete file."""
        rest = np.zeros(0, np.float32)
        if self._rate_hz:
            rest = self._tempo.finish() if self._tempo else rest
        return self._write(rest, last=True)

    def _write(self, samples: Samples, *, last: bool) -> bytes:
        if self._resampler is not None and self._rate_hz != RATE_HZ:
            samples = np.asarray(self._resampler.resample_chunk(samples, last=last), np.float32)
        if self._muxer is not None:
            return self._muxer.write(samples, last=last)
        head = b""
        if self._kind == "wav" and not self._begun:
            # The end is not known yet, so both sizes are set to unknown.
            head = wav_header(RATE_HZ, 0)
            head = head[:4] + UNKNOWN + head[8:40] + UNKNOWN
        self._begun = True
        return head + Clip(samples, RATE_HZ).pcm16()


class _Written:
    """A write-only file object: the muxer cannot seek back in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


class _Muxer:
    """FFmpeg's encoder and container."""

    def __init__(self, form: Format) -> None:
        import av

        self._av = av
        self._out = _Written()
        options = {"flush_packets": "1", **dict(form.options)}
        self._container = av.open(self._out, "w", format=form.container, options=options)
        self._stream = cast("AudioStream", self._container.add_stream(form.codec, rate=RATE_HZ, layout="mono"))
        self._stream.codec_context.format = form.sample
        if form.bit_rate:
            self._stream.bit_rate = form.bit_rate
        self._fifo = av.AudioFifo()
        self._resampler = av.AudioResampler(format=form.sample, layout="mono", rate=RATE_HZ)
        self._written = 0

    def write(self, samples: Samples, *, last: bool) -> bytes:
        if len(samples):
            pcm = np.frombuffer(Clip(samples, RATE_HZ).pcm16(), "<i2")
            frame = self._av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate = RATE_HZ
            frame.pts = self._written
            self._written += len(pcm)
            for ready in self._resampler.resample(frame):
                ready.pts = None
                self._fifo.write(ready)
        size = self._stream.codec_context.frame_size or 1024
        for frame in self._frames(size, last):
            self._container.mux(self._stream.encode(frame))
        if last:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._out.take()

    def _frames(self, size: int, last: bool) -> "Iterator[AudioFrame]":
        while (frame := self._fifo.read(size)) is not None:
            yield frame
        if last and (frame := self._fifo.read(0, partial=True)) is not None:
            yield frame


async def encoded(clips: AsyncGenerator[Clip, None], kind: str, *, speed: float = 1.0) -> AsyncGenerator[bytes, None]:
    """Yield the file in chunks, none empty, each as soon as it can be sent. Closing this generator closes `clips`."""
    async with aclosing(clips):
        encoder = await asyncio.to_thread(Encoder, kind, speed=speed)
        async for clip in clips:
            if data := await asyncio.to_thread(encoder.feed, clip):
                yield data
        if data := await asyncio.to_thread(encoder.finish):
            yield data
