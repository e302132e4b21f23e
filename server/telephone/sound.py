"""Replies of a telephone line in real time, frame by frame."""

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.audio.stream_resampler import RateConverter

FRAME_MS = 20
"""Duration of a frame, as usual in telephony."""
FADE_MS = 5
"""Duration of the fade before a stop: enough against a click."""


class Speaker:
    """A `Line` that gives its sound frame by frame, for a connection that sends each frame when it is due."""

    def __init__(self, rate_hz: int) -> None:
        """rate_hz: rate of the frames."""
        self._added_ms = 0.0
        self._held = False
        self.closed = False
        """Whether the conversation has ended."""
        self.use(rate_hz)

    def use(self, rate_hz: int) -> None:
        """Change the rate of the frames, and drop the sound that waits."""
        self._rate_hz = rate_hz
        self._frame = rate_hz * FRAME_MS // 1000
        self._converter = RateConverter(rate_hz)
        self._sound = np.zeros(0, np.float32)
        """Sound that is due next."""
        self._fading = np.zeros(0, np.float32)
        """Sound before it, which was cut short."""

    @property
    def played_ms(self) -> float:
        return max(0.0, self._added_ms - len(self._sound) * 1000 / self._rate_hz)

    def begin(self) -> None:
        self._added_ms = 0.0

    def play(self, clip: Clip) -> bool:
        self._added_ms += clip.seconds * 1000
        self._sound = np.concatenate([self._sound, self._converter.take(clip)])
        return True

    def hold(self) -> None:
        if not self._held:
            self._held = True
            rest = self._sound[: self._rate_hz * FADE_MS // 1000]
            self._fading = rest * np.linspace(1, 0, len(rest), dtype=np.float32)

    def resume(self) -> None:
        self._held = False

    def cut(self) -> None:
        self.hold()
        self._held = False
        self._converter.end()
        self._added_ms = self.played_ms
        self._sound = self._sound[:0]

    def end(self) -> None:
        self._sound = np.concatenate([self._sound, self._converter.end()])

    def close(self, error: BaseException | None = None) -> None:
        self.closed = True

    @property
    def silent(self) -> bool:
        """Whether all sound was given."""
        return not len(self._sound) and not len(self._fading)

    def frame(self) -> bytes:
        """Return the next frame, as 16-bit little-endian samples, with silence where there is no sound."""
        part, self._fading = self._fading, self._fading[:0]
        if not self._held and len(part) < self._frame:
            more = self._frame - len(part)
            part, self._sound = np.concatenate([part, self._sound[:more]]), self._sound[more:]
        padded = np.pad(part, (0, self._frame - len(part)))
        return Clip(padded, self._rate_hz).pcm16()
