"""Cut a long recording into windows for a recogniser: they contain speech, and cuts are in silence."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.listening.detector import FRAME, RATE_HZ, SpeechDetector, VoiceActivity, probabilities

MIN_PAUSE = 3 * FRAME
"""Samples of silence (96 ms) in which a window that gets too long can be cut."""
MANY = 64
"""Frames (2 s) processed together: some ms of work, after which other threads can run."""
MIN_SPEECH = 3 * FRAME
"""A window with less speech is a click."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the recording with speech in it."""

    start: int
    """First sample on the recording's clock, at RATE_HZ."""
    samples: Samples
    joints: tuple[tuple[int, int], ...] = ()
    """In a window made of several stretches: the start of each but the first, in the window and on the recording's
    clock, in samples."""
    onsets: tuple[int, ...] = ()
    """Start of speech in each of these stretches, in samples of the window; empty: unknown."""

    @property
    def end(self) -> int:
        return self.placed(len(self.samples))

    def placed(self, at: int) -> int:
        """Convert a position in the window to the recording's clock; a joint belongs to the stretch before it."""
        inside, outside = 0, self.start
        for joint, place in self.joints:
            if at <= joint:
                break
            inside, outside = joint, place
        return outside + at - inside


@dataclass(frozen=True, slots=True)
class Cutting:
    """Rules for cutting a recording."""

    max_s: float = 30.0
    """Limit of a window's length."""
    pause_s: float = 2.0
    """Silence that ends a window and is left out."""
    pad_s: float = 0.4
    """Silence kept around the speech."""
    threshold: float = 0.5
    """Speech probability above which a frame is speech."""
    vad: bool = True
    """False: all audio counts as speech, and windows are cut by their length only."""
    pack: bool = False
    """Put short stretches of speech into one window, without the long pauses between them (`Packing`)."""


class Windows:
    """Cuts audio that is fed in any portions; returns windows as soon as they are complete. Keeps at most one
    window."""

    def __init__(self, activity: VoiceActivity, cutting: Cutting) -> None:
        self._activity = activity if cutting.vad else _Always()
        self._detector = SpeechDetector(self._activity, cutting.threshold)
        self._pad = int(cutting.pad_s * RATE_HZ)
        self._max = int(cutting.max_s * RATE_HZ) // FRAME * FRAME
        self._pause = int(max(cutting.pause_s, 2 * cutting.pad_s) * RATE_HZ)
        self._rest = np.zeros(0, np.float32)
        self._held: list[Samples] = []
        """Frames from `_start` on: of the window, or of the silence before it."""
        self._start = 0
        self._spoken: list[bool] = []
        """Whether each held frame is speech."""
        self._open = False
        """Whether any held frame is speech."""
        self._pauses: list[tuple[int, int]] = []
        """[start, end) of the pauses in the open window, for when it gets too long."""

    @property
    def pending(self) -> Window | None:
        """The incomplete window so far."""
        return Window(self._start, np.concatenate(self._held)) if self._open else None

    @property
    def pending_start(self) -> int | None:
        """First sample of the incomplete window; None: there is none."""
        return self._start if self._open else None

    @property
    def now(self) -> int:
        """Number of samples fed so far, in whole frames."""
        return self._detector.now

    @property
    def last_speech(self) -> int:
        """End of the last speech, in samples."""
        return self._detector.last_speech

    def feed(self, samples: Samples) -> list[Window]:
        """Add samples; return the windows that they complete."""
        samples = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        whole = len(samples) // FRAME * FRAME
        self._rest = samples[whole:].copy()
        done: list[Window] = []
        frames = samples[:whole].reshape(-1, FRAME)
        for at in range(0, len(frames), MANY):
            some = frames[at : at + MANY]
            for frame, probability in zip(some, probabilities(self._activity, some), strict=True):
                done += self._take(frame, probability)
        return done

    def finish(self) -> list[Window]:
        """Return the last window, with the samples that do not fill a frame; nothing can be fed after it."""
        done: list[Window] = []
        if len(self._rest):
            tail = self._rest
            frame = np.pad(tail, (0, FRAME - len(tail)))
            done = self._take(frame, self._activity.probability(frame))
            if self._held:
                self._held[-1] = self._held[-1][: len(tail)]
        return done + self.close()

    def close(self) -> list[Window]:
        """End the incomplete window with its last speech; return it, if there is one."""
        return self._close(min(self._detector.last_speech + self._pad, self._now)) if self._open else []

    @property
    def _now(self) -> int:
        return self._start + sum(map(len, self._held))

    def _take(self, frame: Samples, probability: float) -> list[Window]:
        before = self._detector.speaking
        self._detector.feed(frame, probability)
        now, speaking = self._detector.now, self._detector.speaking
        self._held.append(frame)
        self._spoken.append(speaking)
        if not self._open:
            if speaking:
                self._open, self._pauses = True, []
            while not self._open and (len(self._held) - 1) * FRAME >= self._pad:
                self._drop(1)  # only the last part of the silence before speech is needed
            return []
        if before and not speaking:
            self._pauses.append((now - FRAME, now))
        elif not speaking and self._pauses:
            self._pauses[-1] = (self._pauses[-1][0], now)
        if not speaking and self._pauses and now - self._pauses[-1][0] >= self._pause:
            return self._close(min(self._pauses[-1][0] + self._pad, now))
        if now - self._start >= self._max:
            return self._cut(self._best_cut())
        return []

    def _best_cut(self) -> int:
        """Return the middle of the longest pause in the window's later half; without one, the quietest frame."""
        half = self._start + self._max // 2
        pauses = [(end - start, (start + end) // 2) for start, end in self._pauses if end - start >= MIN_PAUSE]
        late = [pause for pause in pauses if pause[1] >= half]
        if late:
            return max(late)[1] // FRAME * FRAME
        last = self._held[-max(1, len(self._held) // 4) :]
        quiet = int(np.argmin([float(np.dot(frame, frame)) for frame in last]))
        return self._detector.now - (len(last) - 1 - quiet) * FRAME

    def _cut(self, at: int) -> list[Window]:
        """Cut within speech: the rest starts the next window."""
        done = self._window(max(1, (at - self._start) // FRAME))
        self._pauses = [(max(start, self._start), end) for start, end in self._pauses if end > self._start]
        return done

    def _close(self, end: int) -> list[Window]:
        """End the window; the silence after it is left out."""
        done = self._window(-(-(end - self._start) // FRAME))
        self._open = False
        return done

    def _window(self, frames: int) -> list[Window]:
        """Take the first `frames` held frames as a window."""
        start, spoken = self._start, self._spoken[:frames]
        samples = self._drop(frames)
        if not samples or sum(spoken) * FRAME < MIN_SPEECH:
            return []
        return [Window(start, np.concatenate(samples), onsets=(spoken.index(True) * FRAME,))]

    def _drop(self, frames: int) -> list[Samples]:
        dropped, self._held = self._held[:frames], self._held[frames:]
        self._spoken = self._spoken[frames:]
        self._start += sum(map(len, dropped))
        return dropped


class Packing:
    """Joins windows as long as they fit into one."""

    def __init__(self, max_s: float) -> None:
        """max_s: limit of a window's length; 0: windows are not joined."""
        self._max = int(max_s * RATE_HZ)
        self._held: list[Window] = []
        self._samples = 0

    @property
    def start(self) -> int | None:
        """Start of the window that is not full yet; None: there is none."""
        return self._held[0].start if self._held else None

    def add(self, window: Window) -> list[Window]:
        """Add a window; return the window that it no longer fits into, and its own if that is full."""
        done = self.finish() if self._samples + len(window.samples) > self._max else []
        self._held.append(window)
        self._samples += len(window.samples)
        return done + (self.finish() if self._samples >= self._max else [])

    def finish(self) -> list[Window]:
        """Return the last window."""
        held, self._held = self._held, []
        self._samples = 0
        if len(held) < 2:
            return held
        joints, onsets, at = [], list(held[0].onsets), 0
        for before, after in pairwise(held):
            at += len(before.samples)
            joints.append((at, after.start))
            onsets += [at + onset for onset in after.onsets]
        return [Window(held[0].start, np.concatenate([one.samples for one in held]), tuple(joints), tuple(onsets))]


class _Always:
    """A VAD that reports everything as speech."""

    def probability(self, frame: Samples) -> float:
        return 1.0

    def reset(self) -> None:
        pass
