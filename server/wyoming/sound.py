"""Sound of the Wyoming protocol: what comes in, resampled as it comes, and what goes out."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Eventable

from pipeline.audio import MAX_RATE_HZ, MIN_RATE_HZ, Clip, Samples
from pipeline.errors import BadInput, Overloaded
from pipeline.listening.detector import RATE_HZ
from pipeline.media import wav
from pipeline.media.mixing import Mono
from pipeline.media.wav import Format
from server.access.counted import Share

MAX_CHANNELS = 8
SILENT_RATE_HZ = 22_050
"""Told of sound that has not a sample."""
FRAMES_PER_STEP = 16_384
"""Resampled at a time (under a millisecond): others get their turn in between."""
_KINDS = {1: "u1", 2: "<i2", 4: "<i4"}
"""Bytes a sample → numpy's name."""


class SoundIn:
    """The sound of one request, kept as 16-bit mono at 16 kHz however it comes: 32 kB a second."""

    def __init__(self, held: Share, max_seconds: float) -> None:
        """held: counts the bytes that are kept."""
        self._held, self._max_seconds = held, max_seconds
        self.kept = 0
        """Bytes that are counted, until `release`."""
        self._pcm = bytearray()
        self._seconds = 0.0
        self._format: Format | None = None
        """Of what comes now."""
        self._rest = b""
        """Of a frame whose end comes with the next chunk."""
        self._mono = Mono(RATE_HZ)

    async def take(self, chunk: AudioChunk) -> None:
        """The next piece; its format may be another one than before.

        Raises BadInput (unsupported_audio, audio_too_long), Overloaded when too much is held already.
        """
        form = _format(chunk)
        if form != self._format:
            self._format, self._rest = form, b""
        frame = form.frame_bytes
        data = self._rest + chunk.audio
        whole = len(data) // frame * frame
        self._rest = data[whole:]
        self._seconds += whole / frame / chunk.rate
        if self._seconds > self._max_seconds:
            raise BadInput(
                f"The sound is longer than {self._max_seconds:g} seconds (MAX_AUDIO_SECONDS).", code="audio_too_long"
            )
        step = FRAMES_PER_STEP * frame
        for start in range(0, whole, step):
            values = wav.values(data[start : min(start + step, whole)], form)
            for samples in self._mono.feed(form.rate_hz, form.names, values):
                self._keep(samples)
            if whole > step:
                await asyncio.sleep(0)

    def end(self) -> Clip:
        """All of it. Raises Overloaded."""
        self._keep(self._mono.finish())
        return Clip.from_pcm16(bytes(self._pcm), RATE_HZ)

    def release(self) -> None:
        """Nothing is kept any longer."""
        self._pcm, self._mono = bytearray(), Mono(RATE_HZ)
        self._held.give_back(self.kept)
        self.kept = 0

    def _keep(self, samples: Samples) -> None:
        pcm = Clip(samples, RATE_HZ).pcm16()
        if not self._held.take(len(pcm)):
            raise Overloaded("Too much sound is waiting already; try again soon.")
        self.kept += len(pcm)
        self._pcm += pcm


def _format(chunk: AudioChunk) -> Format:
    """Raises BadInput (unsupported_audio)."""
    if chunk.width not in _KINDS or not 1 <= chunk.channels <= MAX_CHANNELS:
        raise BadInput(
            f"Send PCM of 1, 2 or 4 bytes a sample and 1 to {MAX_CHANNELS} channels.", code="unsupported_audio"
        )
    if not MIN_RATE_HZ <= chunk.rate <= MAX_RATE_HZ:
        raise BadInput(f"Send sound at {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.", code="unsupported_audio")
    return Format(_KINDS[chunk.width], chunk.rate, ("",) * chunk.channels)


class SoundOut:
    """One answer's sound: its start with the first sample, its end even if there was none."""

    def __init__(self, tell: Callable[[Eventable], Coroutine[Any, Any, None]]) -> None:
        self._tell = tell
        self._rate_hz = 0

    async def send(self, clip: Clip) -> None:
        """The next piece, at the rate of the first."""
        if not self._rate_hz:
            self._rate_hz = clip.rate_hz
            await self._tell(AudioStart(self._rate_hz, 2, 1))
        await self._tell(AudioChunk(self._rate_hz, 2, 1, clip.at(self._rate_hz).pcm16()))

    async def end(self) -> None:
        """There is no more."""
        if not self._rate_hz:
            await self._tell(AudioStart(SILENT_RATE_HZ, 2, 1))
        await self._tell(AudioStop())
