"""The sound of one live conversation: its clock, what in it is speech, and what of it is kept."""

import numpy as np

from pipeline.audio import Clip, Samples
from pipeline.listening.detector import FRAME, RATE_HZ, SpeechDetector, VoiceActivity
from pipeline.listening.utterance import Utterance
from pipeline.media.mixing import Offset


class Ear:
    """Takes sound of any length in frames of the VAD. All positions are samples received, at 16 kHz."""

    def __init__(self, activity: VoiceActivity, *, threshold: float, preroll_ms: int) -> None:
        """preroll_ms: how much is kept from before an utterance; may be changed at any time."""
        self.detector = SpeechDetector(activity, threshold)
        self.preroll_ms = preroll_ms
        self.dropped = 0
        """Samples that belong to no utterance by decision."""
        self._utterance = Utterance()
        self._rest: list[Samples] = []
        self._offset = Offset(RATE_HZ)

    @property
    def received(self) -> int:
        """Samples so far, those included that do not fill a frame yet."""
        return self.detector.now + sum(map(len, self._rest))

    @property
    def silence_ms(self) -> float:
        """Since the last speech, by all that was received."""
        return milliseconds(self.received - self.detector.last_speech)

    @property
    def kept_s(self) -> float:
        """Seconds of sound that are kept."""
        return self._utterance.seconds

    def frames(self, samples: Samples) -> list[Samples]:
        """What was received, in whole frames and without an offset; the rest is kept for the next time."""
        whole = np.concatenate([*self._rest, samples]) if self._rest else samples
        end = len(whole) // FRAME * FRAME
        self._rest = [whole[end:]] if end < len(whole) else []
        return [self._offset.without(whole[start : start + FRAME]) for start in range(0, end, FRAME)]

    def rest(self) -> list[Samples]:
        """What did not fill a frame, filled up with silence."""
        if not self._rest:
            return []
        rest, self._rest = self._offset.without(np.concatenate(self._rest)), []
        return [np.pad(rest, (0, FRAME - len(rest)))]

    def forget_rest(self) -> None:
        """What did not fill a frame will not be heard."""
        self._rest = []

    def take(self, frame: Samples) -> None:
        """Listen to the next frame."""
        self._utterance.add(frame)
        spoken_until = self.detector.last_speech
        self.detector.feed(frame)
        if spoken_until < self.detector.began < self.detector.last_speech:
            self._utterance.note_pause(spoken_until, self.detector.began)

    def skip(self, frame: Samples) -> None:
        """Do not listen to the next frame; the clock goes on."""
        self.dropped += len(frame)
        self.detector.skip(len(frame))
        self._utterance.skip(len(frame))

    # --- what is kept ---

    def begin(self, at: int) -> None:
        """An utterance begins there: it is kept from then on, with its pre-roll."""
        self._utterance.begin(at - self._preroll)

    def keep_newest(self, seconds: float) -> None:
        """Forget what is older."""
        self._utterance.keep_from(self.detector.now - samples(1000 * seconds))

    def keep_preroll(self, at: int | None = None) -> None:
        """Keep only what an utterance that begins there may begin with; None: the next one, now or as it has begun."""
        if at is None:
            at = self.detector.began if self.detector.speaking else self.detector.now
        self._utterance.keep_from(at - self._preroll)

    def leave_behind(self, until: int | None = None) -> None:
        """The sound up to that sample (None: all) belongs to an utterance that is over; nothing is heard twice."""
        self.detector.cut()
        self._utterance.keep_from(self.detector.now if until is None else until)

    def leave_utterance_behind(self) -> None:
        """What was said is over; the silence since then may hold the pre-roll of the next utterance."""
        self.leave_behind(min(self.detector.now, self.detector.last_speech + FRAME // 2))

    def clip(self) -> Clip:
        """All that is kept."""
        return self._utterance.clip()

    def cut(self) -> Clip:
        """Take away what is before the longest pause."""
        at = self._utterance.longest_pause()
        first = self._utterance.clip(until=at)
        self._utterance.keep_from(at)
        return first

    @property
    def _preroll(self) -> int:
        return samples(self.preroll_ms)


def samples(ms: float) -> int:
    """As many at 16 kHz."""
    return int(ms * RATE_HZ / 1000)


def milliseconds(count: int) -> float:
    """Of so many samples at 16 kHz."""
    return count * 1000 / RATE_HZ
