"""Sound of a call: the caller's track to 16 kHz, and the replies as a track in real time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from av.packet import Packet

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.stream_resampler import RateConverter
from pipeline.listening import detector
from server.webrtc.encoder import FRAME, RATE_HZ, SILENCE, TIME_BASE, SpeechEncoder

PLAY_HZ = RATE_HZ
"""Rate of the sound in `Speaker`."""
FADE = PLAY_HZ * 10 // 1000
"""Samples of the fade when the sound is cut: an abrupt end clicks."""
QUIET_FRAMES = 5
"""Silent frames that are encoded at the end of a sound: the encoder comes to rest, and so does the client's decoder."""
QUIET_S = 0.4
"""Interval of packets while nothing is played, in seconds: that of discontinuous transmission (RFC 7587, 3.1.3)."""
MAX_GAP_S = 1.0
"""Longest gap between two packets that is filled with silence; a longer one is a pause of the sender."""
MAX_BEHIND_S = 0.2
"""How late a frame may be before the clock of the track starts again, after a pause of the whole process."""
LEAD_MS = 80
"""How far ahead of real time sound is passed to `Speaker`, in ms: it sends it in real time itself."""
MAX_AHEAD_S = 2.0
"""How much more sound than time may arrive, in seconds: timestamps of packets are the caller's."""


class Speaker(MediaStreamTrack):
    """Plays sound as it is added, one packet each 20 ms, and in between one each 400 ms.

    It returns packets, not frames: aiortc would encode frames in a thread, one call for each.
    """

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sound = np.zeros(0, np.int16)
        self._added = asyncio.Event()
        """Whether there is sound in `_sound`."""
        self._converter = RateConverter(PLAY_HZ)
        self._encoder = SpeechEncoder()
        self._quiet = 0
        """Number of silent packets since the last sound."""
        self._next = 0
        """Position of the next packet, in samples."""
        self._begun = 0.0
        """Loop time of position 0."""

    def play(self, clip: Clip) -> None:
        """Add sound, which comes in real time (see `Playback`), so that little waits."""
        self._add(self._converter.take(clip))

    def end(self) -> None:
        """Complete the sound of a reply."""
        self._add(self._converter.end())

    def cut(self) -> None:
        """Drop the sound that waits, after a short fade."""
        self._converter.end()
        rest = self._sound[:FADE]
        self._sound = (rest * np.linspace(1, 0, len(rest))).astype(np.int16)

    def stop(self) -> None:
        """End the track; what waits in `recv` ends, too."""
        super().stop()
        self._added.set()

    def _add(self, samples: Samples) -> None:
        if self.readyState != "live":
            return
        self._sound = np.concatenate([self._sound, np.frombuffer(Clip(samples, PLAY_HZ).pcm16(), np.int16)])
        if len(self._sound):
            self._added.set()

    async def recv(self) -> "Packet[Any]":
        """Return the next packet when it is due. Raises MediaStreamError after `stop`."""
        if self._quiet > QUIET_FRAMES and not len(self._sound):
            await self._pause()
        await self._due()
        if self.readyState != "live":
            raise MediaStreamError
        packet = Packet(self._encoded())
        packet.pts, packet.time_base = self._next, TIME_BASE
        self._next += FRAME
        return packet

    async def _pause(self) -> None:
        """Wait for sound, at most QUIET_S, and leave out the time of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await self._added.wait()
        passed = asyncio.get_running_loop().time() - self._begun
        self._next = max(self._next, int(passed * PLAY_HZ))

    async def _due(self) -> None:
        """Wait until the next packet is due."""
        now = asyncio.get_running_loop().time()
        wait_s = self._begun + self._next / PLAY_HZ - now
        if not self._begun or wait_s < -MAX_BEHIND_S:
            self._begun = now - self._next / PLAY_HZ
        elif wait_s > 0:
            await asyncio.sleep(wait_s)

    def _encoded(self) -> bytes:
        """Return the next frame, encoded."""
        part, self._sound = self._sound[:FRAME], self._sound[FRAME:]
        if not len(self._sound):
            self._added.clear()
        self._quiet = 0 if part.any() else self._quiet + 1
        if self._quiet > QUIET_FRAMES:
            return SILENCE
        return self._encoder.encode(np.pad(part, (0, FRAME - len(part))))


class Microphone:
    """Converts the frames of the caller's track to float32 mono at 16 kHz, with silence for those that were lost."""

    def __init__(self) -> None:
        self._rate_hz = 0
        self._converter = RateConverter(detector.RATE_HZ)
        self._next = 0
        """Timestamp that the next frame has if none was lost."""

    def take(self, frame: AudioFrame) -> Samples:
        """Return the next samples."""
        channels = len(frame.layout.channels)
        # The mean of the channels, as a product: several times as fast as numpy's mean of so short rows.
        pcm = frame.to_ndarray().reshape(-1, channels)
        values: Samples = np.dot(pcm.astype(np.float32), np.full(channels, 1 / (32_768 * channels), np.float32))
        if self._rate_hz != frame.sample_rate:
            self._rate_hz = frame.sample_rate
        elif frame.pts is not None and 0 < (lost := frame.pts - self._next) <= MAX_GAP_S * self._rate_hz:
            values = np.concatenate([np.zeros(lost, np.float32), values])
        if frame.pts is not None:
            self._next = frame.pts + frame.samples
        return self._converter.take(Clip(values, self._rate_hz))


class Tracks:
    """The two tracks of a call."""

    def __init__(self) -> None:
        self.speaker = Speaker()
        """Plays the replies."""
        self._caller: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()

    def receive(self, track: MediaStreamTrack) -> None:
        """Hear the caller on this track; only the first one counts."""
        if not self._caller.done():
            self._caller.set_result(track)

    async def heard(self) -> AsyncGenerator[Samples, None]:
        """Yield what the caller says, float32 at 16 kHz, until the track ends."""
        microphone, track, loop = Microphone(), await self._caller, asyncio.get_running_loop()
        ahead_s, since = 0.0, loop.time()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)  # noqa: S101  # aiortc decodes Opus
            now = loop.time()
            ahead_s, since = max(0.0, ahead_s - (now - since)), now
            if ahead_s <= MAX_AHEAD_S:  # a sender can claim gaps of any length
                heard = microphone.take(frame)
                ahead_s += len(heard) / detector.RATE_HZ
                yield heard
