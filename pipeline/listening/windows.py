"""A long recording in windows that a recogniser can take: with speech in them, cut where nobody speaks."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.audio import Samples
from pipeline.listening.detector import FRAME, RATE_HZ, SpeechDetector, VoiceActivity, probabilities

MIN_PAUSE = 3 * FRAME
"""Samples of silence (96 ms) that a window may be cut in when it gets too long."""
MANY = 64
"""Frames (2 s) that are looked at together: some ms of work, after which others have their turn."""
MIN_SPEECH = 3 * FRAME
"""A window with less speech is a click."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the recording with speech in it."""

    start: int
    """Its first sample on the recording's clock, at RATE_HZ."""
    samples: Samples
    joints: tuple[tuple[int, int], ...] = ()
    """Of a window that is made of several stretches: where each but the first begins, in the window and on the
    recording's clock, in samples."""
    onsets: tuple[int, ...] = ()
    """Where speech begins in each of these stretches, in samples of the window; empty: not known."""

    @property
    def end(self) -> int:
        return self.placed(len(self.samples))

    def placed(self, at: int) -> int:
        """The place on the recording's clock of a place in the window; a joint belongs to what is before it."""
        inside, outside = 0, self.start
        for joint, place in self.joints:
            if at <= joint:
                break
            inside, outside = joint, place
        return outside + at - inside


@dataclass(frozen=True, slots=True)
class Cutting:
    """Where a recording is cut."""

    max_s: float = 30.0
    """No window is longer."""
    pause_s: float = 2.0
    """A silence so long ends a window, and is left out."""
    pad_s: float = 0.4
    """Silence kept around the speech."""
    threshold: float = 0.5
    """Speech probability above which a frame is speech."""
    vad: bool = True
    """False: all sound counts as speech, and windows are cut by their length only."""
    pack: bool = False
    """Short stretches of speech share a window, without the long pauses between them (`Packing`)."""


class Windows:
    """Feed samples in any portions; get windows as soon as they are complete. Keeps one window at most."""

    def __init__(self, activity: VoiceActivity, cutting: Cutting) -> None:
        self._cutting = cutting
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
        """Whether any of them is."""
        self._pauses: list[tuple[int, int]] = []
        """[start, end) of the pauses in the open window, for when it gets too long."""

    @property
    def pending(self) -> Window | None:
        """What is held of a window that is not complete."""
        return Window(self._start, np.concatenate(self._held)) if self._open else None

    @property
    def now(self) -> int:
        """Samples fed so far, in whole frames."""
        return self._detector.now

    def feed(self, samples: Samples) -> list[Window]:
        """The windows that are complete with these samples."""
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
        """The last window, with the samples that make no whole frame; nothing can be fed after it."""
        done: list[Window] = []
        if len(self._rest):
            tail = self._rest
            frame = np.pad(tail, (0, FRAME - len(tail)))
            done = self._take(frame, self._activity.probability(frame))
            if self._held:
                self._held[-1] = self._held[-1][: len(tail)]
        return done + (self._close(min(self._detector.last_speech + self._pad, self._now)) if self._open else [])

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
                self._drop(1)  # of the silence before speech only the last part is of use
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
        """In the middle of the longest pause of the window's later half; without one, where it is least loud."""
        half = self._start + self._max // 2
        pauses = [(end - start, (start + end) // 2) for start, end in self._pauses if end - start >= MIN_PAUSE]
        late = [pause for pause in pauses if pause[1] >= half]
        if late:
            return max(late)[1] // FRAME * FRAME
        last = self._held[-max(1, len(self._held) // 4) :]
        quiet = int(np.argmin([float(np.dot(frame, frame)) for frame in last]))
        return self._detector.now - (len(last) - 1 - quiet) * FRAME

    def _cut(self, at: int) -> list[Window]:
        """Speech goes on behind it: the rest begins the next window."""
        done = self._window(max(1, (at - self._start) // FRAME))
        self._pauses = [(max(start, self._start), end) for start, end in self._pauses if end > self._start]
        return done

    def _close(self, end: int) -> list[Window]:
        """Silence follows, and is left out."""
        done = self._window(-(-(end - self._start) // FRAME))
        self._open = False
        return done

    def _window(self, frames: int) -> list[Window]:
        """The first so many of the held frames."""
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
    """Windows that are put together as long as they fit into one."""

    def __init__(self, max_s: float) -> None:
        """max_s: no window is longer; 0: each stays alone."""
        self._max = int(max_s * RATE_HZ)
        self._held: list[Window] = []
        self._samples = 0

    @property
    def start(self) -> int | None:
        """Where the window begins that is not full yet; None: there is none."""
        return self._held[0].start if self._held else None

    def add(self, window: Window) -> list[Window]:
        """The window that this one does not fit into any more, and one that is full."""
        done = self.finish() if self._samples + len(window.samples) > self._max else []
        self._held.append(window)
        self._samples += len(window.samples)
        return done + (self.finish() if self._samples >= self._max else [])

    def finish(self) -> list[Window]:
        """The last one."""
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
    """A VAD for which everything is speech."""

    def probability(self, frame: Samples) -> float:
        return 1.0

    def reset(self) -> None:
        pass
