"""Echo: recognise the reply in the user's sound, for clients without echo cancelling.

The reply that is being played is known. Its sound and the user's are compared by their levels in 16 bands, every 16 ms:
an echo has the same rises and falls, later and weaker. The delay is unknown, so all delays up to 700 ms are compared.
Once a reply was found, its delay and its loss in each band are kept: then a frame counts as echo if the reply explains
its level, and as the user's if it is clearly louder.
"""

import math
from collections import deque
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import Samples
from pipeline.listening.detector import FRAME, RATE_HZ

HOP, WINDOW = 256, 512
BANDS = 16
LAGS = 44
"""Delays that are compared, in hops: 0 to 700 ms, for the way to the loudspeaker, through the room, and back."""
HISTORY = 48
"""Hops that are compared: 770 ms, some three syllables."""
REACH = LAGS * HOP
"""Samples after the end of a reply in which its echo can arrive."""
AHEAD = 4 * RATE_HZ
"""Samples by which the reply can be ahead of the user's sound: the longest lead, and a delay of the network."""
KEPT = 10 * RATE_HZ
"""Samples of the reply that are kept while no sound of the user arrives."""
JITTER = 1600
"""Samples by which the start of a piece can be uncertain: a shorter gap between two pieces does not count."""
PENDING = 16
"""Frames whose levels are computed together, unless they are needed earlier: a frame alone costs four times as much."""
FLOOR_DB = -65.0
"""Level of silence. Quieter sound in the reply has no echo that matters."""
RANGE_DB = 30.0
"""Differences in level further below the loudest are noise."""
DECAY_DB = 1.6
"""Decay of a room's reverberation in one hop: 100 dB a second, or 0.6 s to 60 dB."""
FIRST_HOPS = 12
"""Hops after which a correlation means something."""
ALIKE, ALIKE_SHORT = 0.64, 0.2
"""Correlation of levels from which sound is the reply's echo, and how much more it needs without a history. In rooms
with 0.2 to 0.5 s of reverberation, echoes had 0.74 to 0.9 over the whole history, other voices at most 0.57; over 12
hops echoes had 0.73 to 0.82, other voices at most 0.78."""
AGREEING = 6
"""Frames in a row that are alike with the same delay, after which delay and loss are learned."""
MARGIN_DB = 6.0
"""Sound that is louder than the expected echo by this is not explained by it."""
UNEXPLAINED = 0.3
"""Share of a frame's power, above which the frame is not only echo. Echoes had at most 0.02 in 99 % of their frames, a
user 10 dB above the echo at least 0.34 in 95 %."""
NEAR = 3
"""Hops by which the delay can differ from the learned one: a client plays after a pause with another delay."""
PRESENT_DB, PRESENT_SHARE = 12.0, 0.25
"""A learned echo is there if a quarter of its loud bands is within 12 dB of the expected level. Otherwise it is
forgotten after two seconds of the reply, because the user has changed to a headset."""
PRESENCE_STEP = 0.02
"""Share of each frame in the average of the bands that are there."""

Levels = npt.NDArray[np.float32]


def _filters() -> Levels:
    """Return the weights of the bins in each band, shape (257, BANDS): equal steps of the logarithm from 150 Hz to
    7 kHz. Higher bands weigh more, because speech has less power there."""
    edges = np.geomspace(150.0, 7000.0, BANDS + 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    weights = np.zeros((len(bins), BANDS), np.float32)
    for band, (low, high) in enumerate(pairwise(edges)):
        inside = (bins >= low) & (bins < high)
        inside[int(np.argmin(np.abs(bins - (low + high) / 2)))] = True
        weights[inside, band] = (low + high) / 2000.0
    return weights


_WEIGHTS = _filters()
_HANN = np.hanning(WINDOW).astype(np.float32)
_FULL = float(np.square(_HANN).sum()) * WINDOW / 4
"""Power of a sine of full scale in its bins, roughly."""


def _levels(windows: Samples) -> Levels:
    """Return the levels in dB, shape (n, BANDS). windows: shape (n, WINDOW)."""
    power = np.square(np.abs(np.fft.rfft(windows * _HANN, axis=1))) @ _WEIGHTS / _FULL
    return np.asarray(np.maximum(10 * np.log10(power + 1e-12), FLOOR_DB), np.float32)


class Echo:
    """Compares the user's sound with the reply. Positions are samples received, at 16 kHz."""

    def __init__(self) -> None:
        self.known = False
        """Whether the replies come back to this microphone."""
        self.until = 0
        """Sample up to which an echo of the replies so far can arrive."""
        self._played: deque[tuple[int, Samples]] = deque()
        self._now = 0
        self._last = np.zeros(HOP, np.float32)
        self._lag = 0
        self._loss = np.zeros(BANDS, np.float32)
        self._forget_levels()

    def _forget_levels(self) -> None:
        self._hops = self._agreeing = self._found = 0
        self._presence = 1.0
        self._pending: list[tuple[Samples, Samples]] = []
        """The user's and the reply's sound of the newest frames, whose levels are not computed yet."""
        self._user = np.full((HISTORY, BANDS), FLOOR_DB, np.float32)
        self._reply = np.full((HISTORY + LAGS, BANDS), FLOOR_DB, np.float32)
        self._room = np.full((HISTORY + LAGS, BANDS), FLOOR_DB, np.float32)
        """The levels of the reply with the reverberation of a room."""

    def plays(self, samples: Samples, at: int) -> None:
        """Take sound of the reply, at 16 kHz. at: the sample that is received when the client starts to play it, if it
        has no delay."""
        end = self.until - REACH
        if end > at + AHEAD:  # the client has paused its sound, so the earlier positions are no longer right
            self._played.clear()
            end = at
        at = end if at < end + JITTER else max(at, self._now)
        self._played.append((at, samples))
        while self._played[-1][0] - self._played[0][0] > KEPT:
            self._played.popleft()
        self.until = at + len(samples) + REACH

    def skip(self, samples: int) -> None:
        """Advance the clock by samples that are ignored."""
        self._now += samples
        self._forget_levels()

    def hear(self, frame: Samples) -> None:
        """Take the user's next frame of FRAME samples."""
        before, self._last = self._last, frame[-HOP:]
        self._now += FRAME
        if self._now > self.until:
            self._played.clear()
            if self._hops:
                self._forget_levels()
            return
        sound = np.concatenate([before, frame])
        self._pending.append((sound, self._sound(self._now - FRAME - HOP, FRAME + HOP)))
        self._hops = min(HISTORY, self._hops + 2)
        if self.known or len(self._pending) == PENDING:
            self._compare()
        if self.known:
            self._check_presence()

    def _compare(self) -> None:
        """Compute the levels of the pending frames."""
        if not self._pending:
            return
        windows = [sound[start : start + WINDOW] for both in self._pending for sound in both for start in (0, HOP)]
        levels = _levels(np.stack(windows)).reshape(-1, 2, 2, BANDS)
        user, reply = (levels[:, which].reshape(-1, BANDS) for which in (0, 1))
        self._pending.clear()
        self._user = np.concatenate([self._user, user])[-HISTORY:]
        self._reply = np.concatenate([self._reply, reply])[-HISTORY - LAGS :]
        ringing = [self._room[-1]]
        for heard in reply:
            ringing.append(np.maximum(heard, ringing[-1] - DECAY_DB))
        self._room = np.concatenate([self._room, ringing[1:]])[-HISTORY - LAGS :]

    def is_echo(self) -> bool:
        """Whether the last frame is nothing but the reply's echo."""
        if not self._hops:
            return False
        self._compare()
        if self._hops >= FIRST_HOPS:
            likeness, lag = self._likeness()
            alike = likeness >= ALIKE + ALIKE_SHORT * (HISTORY - self._hops) / HISTORY
            self._agreeing = self._agreeing + 1 if alike and abs(lag - self._found) <= 1 else int(alike)
            self._found = lag
            if self._agreeing >= AGREEING:
                self._learn(lag)
            if not self.known:
                return alike
        return self.known and self._explained()

    def _sound(self, start: int, count: int) -> Samples:
        """Return the reply's sound at these samples."""
        while self._played and self._played[0][0] + len(self._played[0][1]) <= start:
            self._played.popleft()
        sound = np.zeros(count, np.float32)
        for at, samples in self._played:
            if at >= start + count:
                break
            first, last = max(at, start), min(at + len(samples), start + count)
            sound[first - start : last - start] = samples[first - at : last - at]
        return sound

    def _likeness(self) -> tuple[float, int]:
        """Return the highest correlation of the levels, and its delay in hops."""
        user, reply = self._user[-self._hops :], self._reply[-(self._hops + LAGS - 1) :]
        user = np.maximum(user, user.max(axis=0) - RANGE_DB)
        reply = np.maximum(reply, reply.max(axis=0) - RANGE_DB)
        heard = user.T - user.mean(axis=0)[:, None]
        # Shape (LAGS, BANDS, hops), the longest delay first.
        lagged = np.lib.stride_tricks.sliding_window_view(reply, self._hops, axis=0)
        played = lagged - lagged.mean(axis=2, keepdims=True)
        power = np.square(heard).sum() * np.square(played).sum(axis=(1, 2))
        alike = (played * heard).sum(axis=(1, 2)) / np.sqrt(power + 1e-6)
        best = int(np.argmax(alike))
        return float(alike[best]), LAGS - 1 - best

    def _learn(self, lag: int) -> None:
        """Learn the delay, and the loss in each band."""
        end = len(self._reply) - lag
        reply, user = self._reply[end - self._hops : end], self._user[-self._hops :]
        loud = reply > np.maximum(FLOOR_DB, reply.max(axis=0) - RANGE_DB / 2)
        for band in np.flatnonzero(loud.sum(axis=0) >= FIRST_HOPS // 2):
            found = float(np.median((user - reply)[loud[:, band], band]))
            self._loss[band] = found if not self.known else 0.7 * self._loss[band] + 0.3 * found
        self._lag, self.known, self._presence = lag, True, 1.0

    def _explained(self) -> bool:
        """Whether the expected echo explains the last frame."""
        power = 10 ** (self._user[-2:] / 10)
        shares = []
        for lag in range(max(0, self._lag - NEAR), min(LAGS - 1, self._lag + NEAR) + 1):
            end = len(self._room) - lag
            expected = np.maximum(FLOOR_DB, self._room[end - 2 : end] + self._loss) + MARGIN_DB
            shares.append(np.maximum(0.0, power - 10 ** (expected / 10)).sum() / power.sum())
        return bool(min(shares) < UNEXPLAINED)

    def _check_presence(self) -> None:
        """Forget the echo if it does not come while the reply is loud."""
        expected = self._reply[len(self._reply) - self._lag - 1] + self._loss
        loud = expected > FLOOR_DB + PRESENT_DB
        if loud.sum() >= BANDS // 4:
            near = np.abs(self._user[-1] - expected)[loud] < PRESENT_DB
            self._presence += PRESENCE_STEP * (float(near.mean()) - self._presence)
            self.known = self._presence > PRESENT_SHARE


class Received:
    """Relates the loop's clock to the samples received, which arrive in bursts: the earliest arrivals count."""

    SLOWER = 0.0005
    """Share by which a client's clock can be slower than ours."""
    LONGEST_S = 1.0
    """A longer delay is a pause of the client."""

    def __init__(self) -> None:
        self._start_s, self._at_s = -math.inf, 0.0
        """Loop time at which sample 0 would have arrived, and the time of the last arrival."""

    def arrived(self, samples: int, now_s: float) -> None:
        """Note that this many samples were received so far."""
        start_s = now_s - samples / RATE_HZ
        known_s = self._start_s + self.SLOWER * (now_s - self._at_s)
        self._start_s = start_s if not known_s <= start_s <= known_s + self.LONGEST_S else known_s
        self._at_s = now_s

    def sample_at(self, time_s: float) -> int | None:
        """Return the sample that arrives at this loop time; None before the first arrival."""
        return int((time_s - self._start_s) * RATE_HZ) if math.isfinite(self._start_s) else None
