"""Sound of a call: the caller's track to 16 kHz, and the replies as a track in real time."""

import asyncio
from collections.abc import AsyncGenerator
from fractions import Fraction

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.stream_resampler import RateConverter
from pipeline.listening.detector import RATE_HZ

PLAY_HZ = 24_000
"""Rate of the sound in `Speaker`, that of `audio/pcm`."""
FRAME_MS = 20
"""Duration of a packet, the usual one of Opus."""
FRAME = PLAY_HZ * FRAME_MS // 1000
FADE = PLAY_HZ * 10 // 1000
"""Samples of the fade when the sound is cut: an abrupt end clicks."""
MAX_GAP_S = 1.0
"""Longest gap between two packets that is filled with silence; a longer one is a pause of the sender."""
MAX_BEHIND_S = 0.2
"""How late a frame may be before the clock of the track starts again, after a pause of the whole process."""
LEAD_MS = 80
"""How far ahead of real time sound is passed to `Speaker`, in ms: it sends it in real time itself."""
MAX_AHEAD_S = 2.0
"""How much more sound than time may arrive, in seconds: timestamps of packets are the caller's."""


class Speaker(MediaStreamTrack):
    """Plays sound as it is added, and silence in between, one frame each 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sound = np.zeros(0, np.int16)
        self._converter = RateConverter(PLAY_HZ)
        self._frames = 0
        """Number of frames returned."""
        self._begun = 0.0
        """Loop time of frame 0."""

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

    def _add(self, samples: Samples) -> None:
        self._sound = np.concatenate([self._sound, np.frombuffer(Clip(samples, PLAY_HZ).pcm16(), np.int16)])

    async def recv(self) -> AudioFrame:
        """Return the next frame when it is due. Raises MediaStreamError after `stop`."""
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        due = self._begun + self._frames * FRAME_MS / 1000
        if not self._frames or loop.time() - due > MAX_BEHIND_S:
            self._begun = loop.time() - self._frames * FRAME_MS / 1000
        elif (wait_s := due - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        part, self._sound = self._sound[:FRAME], self._sound[FRAME:]
        frame = AudioFrame.from_ndarray(np.pad(part, (0, FRAME - len(part)))[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = PLAY_HZ, Fraction(1, PLAY_HZ)
        frame.pts = self._frames * FRAME
        self._frames += 1
        return frame


class Microphone:
    """Converts the frames of the caller's track to float32 mono at 16 kHz, with silence for those that were lost."""

    def __init__(self) -> None:
        self._rate_hz = 0
        self._converter = RateConverter(RATE_HZ)
        self._next = 0
        """Timestamp that the next frame has if none was lost."""

    def take(self, frame: AudioFrame) -> Samples:
        """Return the next samples."""
        channels = len(frame.layout.channels)
        values = frame.to_ndarray().reshape(-1, channels).mean(axis=1, dtype=np.float32) / 32_768
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
                ahead_s += len(heard) / RATE_HZ
                yield heard
