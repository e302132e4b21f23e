"""Audio of the Wyoming protocol: incoming sound, resampled as it arrives, and outgoing sound."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Eventable

from pipeline.audio.clip import MAX_RATE_HZ, MIN_RATE_HZ, Clip, Samples
from pipeline.audio.decode import wav
from pipeline.audio.decode.mixing import PIECE_S, Mono
from pipeline.audio.decode.wav import Format
from pipeline.errors import BadInput, Overloaded
from pipeline.listening.detector import RATE_HZ
from pipeline.speech.synthesize import silence
from server.access.limits import Share

MAX_CHANNELS = 8
VALUES_PER_STEP, STEPS_PER_S = 16_384, 10
"""Samples of all channels converted at a time: this many, and at most a tenth of a second of sound, because low rates
become several times as many samples (under 1 ms)."""
RECORDINGS_PACE = 10.0
"""How many times as much sound of recordings as of conversations is taken at once and in a second (`Share.heard`):
recordings may come faster than they were spoken, and cost less."""
_KINDS = {1: "u1", 2: "<i2", 4: "<i4"}
"""Bytes per sample → numpy's name."""


class Conversion:
    """Converts a stream of chunks to mono at 16 kHz, whatever their format."""

    def __init__(self, converting: asyncio.Lock) -> None:
        """converting: held during one step by one connection, so that many of them take no more of an iteration of the
        event loop than one."""
        self._converting = converting
        self._format: Format | None = None
        """Format of the current chunks."""
        self._rest = b""
        """Beginning of a frame that the next chunk completes."""
        self._mono = Mono(RATE_HZ, block_s=PIECE_S, live=True)

    def seconds(self, chunk: AudioChunk) -> float:
        """Return the duration of a chunk. Raises BadInput (unsupported_audio)."""
        return len(chunk.audio) / _format(chunk).frame_bytes / chunk.rate

    async def converted(self, chunk: AudioChunk) -> AsyncGenerator[Samples, None]:
        """Yield the samples of the next chunk; its format can differ from the previous one. Raises BadInput
        (unsupported_audio)."""
        form = _format(chunk)
        if form != self._format:
            self._format, self._rest = form, b""
        frame = form.frame_bytes
        data = self._rest + chunk.audio
        whole = len(data) // frame * frame
        self._rest = data[whole:]
        step = max(1, min(VALUES_PER_STEP // chunk.channels, chunk.rate // STEPS_PER_S)) * frame
        for start in range(0, whole, step):
            async with self._converting:
                values = wav.values(data[start : min(start + step, whole)], form)
                ready = list(self._mono.feed(form.rate_hz, form.names, values))
                if whole > step:
                    await asyncio.sleep(0)  # with the lock: the others wait until the next iteration, too
            for samples in ready:
                yield samples

    def rest(self) -> Samples:
        """Return the last samples, which the resampler holds back."""
        return self._mono.finish()


class SoundIn:
    """The sound of one request, kept as 16-bit mono at 16 kHz (32 kB per second)."""

    def __init__(self, held: Share, max_seconds: float, conversion: Conversion) -> None:
        """held: counts the bytes that are kept."""
        self._held, self._max_seconds, self._conversion = held, max_seconds, conversion
        self.kept = 0
        """Bytes held in the budget until `release`."""
        self.seconds = 0.0
        """Duration of the sound so far."""
        self._pcm = bytearray()

    async def take(self, chunk: AudioChunk, also: Callable[[Samples], Awaitable[None]] | None = None) -> None:
        """Add the next chunk. also: receives its samples, too.

        Raises BadInput (unsupported_audio, audio_too_long), Overloaded when the budget is exhausted.
        """
        self.seconds += self._conversion.seconds(chunk)
        if self.seconds > self._max_seconds:
            raise BadInput(
                f"The sound is longer than {self._max_seconds:g} seconds (MAX_AUDIO_SECONDS).", code="audio_too_long"
            )
        async with aclosing(self._conversion.converted(chunk)) as converted:
            async for samples in converted:
                self._keep(samples)
                if also is not None:
                    await also(samples)
                else:
                    await self._held.heard(len(samples) / RATE_HZ / RECORDINGS_PACE)

    def pieces(self) -> Iterator[Samples]:
        """Yield the sound so far in pieces of at most VALUES_PER_STEP samples."""
        pcm = bytes(self._pcm)
        for start in range(0, len(pcm), 2 * VALUES_PER_STEP):
            yield Clip.from_pcm16(pcm[start : start + 2 * VALUES_PER_STEP], RATE_HZ).samples

    def end(self) -> Clip:
        """Return all of the sound. Raises Overloaded."""
        self._keep(self._conversion.rest())
        return Clip.from_pcm16(bytes(self._pcm), RATE_HZ)

    def release(self) -> None:
        """Discard the sound and free its bytes in the budget."""
        self._pcm = bytearray()
        self._held.give_back(self.kept)
        self.kept = 0

    def _keep(self, samples: Samples) -> None:
        pcm = Clip(samples, RATE_HZ).pcm16()
        if not self._held.take(len(pcm)):
            raise Overloaded("Too much sound is waiting; retry soon.")
        self.kept += len(pcm)
        self._pcm += pcm


def _format(chunk: AudioChunk) -> Format:
    """Return the format of a chunk. Raises BadInput (unsupported_audio)."""
    if chunk.width not in _KINDS or not 1 <= chunk.channels <= MAX_CHANNELS:
        raise BadInput(
            f"Send PCM with 1, 2 or 4 bytes per sample and 1 to {MAX_CHANNELS} channels.", code="unsupported_audio"
        )
    if not MIN_RATE_HZ <= chunk.rate <= MAX_RATE_HZ:
        raise BadInput(f"Send audio at {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz.", code="unsupported_audio")
    return Format(_KINDS[chunk.width], chunk.rate, ("",) * chunk.channels)


class SoundOut:
    """The sound of one response. Sends `audio-start` before the first clip."""

    def __init__(self, tell: Callable[[Eventable], Coroutine[object, object, None]]) -> None:
        self._tell = tell
        self._rate_hz = 0

    async def send(self, clip: Clip) -> None:
        """Send the next clip, resampled to the rate of the first."""
        if not self._rate_hz:
            self._rate_hz = clip.rate_hz
            await self._tell(AudioStart(self._rate_hz, 2, 1))
        await self._tell(AudioChunk(self._rate_hz, 2, 1, clip.at(self._rate_hz).pcm16()))

    async def end(self) -> None:
        """End the sound; without clips it is a short silence."""
        if not self._rate_hz:
            await self.send(silence())
        await self._tell(AudioStop())
