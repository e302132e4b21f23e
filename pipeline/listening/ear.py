"""The audio of one live conversation: its clock, its speech detection, and its buffer."""

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode.mixing import Offset
from pipeline.audio.stream_resampler import RateConverter
from pipeline.listening.detector import FRAME, RATE_HZ, FullBand, SpeechDetector, VoiceActivity
from pipeline.listening.echo import Echo, Received
from pipeline.listening.noise import NoiseFilter
from pipeline.listening.utterance import Utterance

MAYBE_SPEECH = 0.1
"""Speech probability from which a frame is compared with the reply."""


class Ear:
    """Processes audio of any length in frames of the VAD. All positions are samples received, at 16 kHz."""

    def __init__(self, activity: VoiceActivity, *, threshold: float, preroll_ms: int) -> None:
        """preroll_ms: audio to keep from before an utterance; can be changed at any time."""
        self.detector = SpeechDetector(activity, threshold)
        self.echo = Echo()
        self.preroll_ms = preroll_ms
        self.narrow_band = False
        """Whether the sound had a lower rate, like that of a telephone."""
        self.dropped = 0
        """Number of samples that were deliberately ignored."""
        self._activity, self._in_full_band, self._clock = activity, FullBand(activity), Received()
        self._noise: NoiseFilter | None = None
        self._words_filtered = False
        self._utterance = Utterance()
        self._rest: list[Samples] = []
        self._offset = Offset(RATE_HZ)
        self._reply = RateConverter(RATE_HZ)

    @property
    def received(self) -> int:
        """Number of samples so far, including those that do not fill a frame yet."""
        return self.detector.now + sum(map(len, self._rest))

    @property
    def silence_ms(self) -> float:
        """Time since the last speech, by all samples received."""
        return milliseconds(self.received - self.detector.last_speech)

    @property
    def kept_s(self) -> float:
        """Seconds of audio in the buffer."""
        return self._utterance.seconds

    def frames(self, samples: Samples) -> list[Samples]:
        """Split the received audio into whole frames without a DC offset; the rest is kept for the next call."""
        whole = np.concatenate([*self._rest, samples]) if self._rest else samples
        end = len(whole) // FRAME * FRAME
        self._rest = [whole[end:]] if end < len(whole) else []
        return [self._offset.without(whole[start : start + FRAME]) for start in range(0, end, FRAME)]

    def rest(self) -> list[Samples]:
        """Return the incomplete frame, padded with silence."""
        if not self._rest:
            return []
        rest, self._rest = self._offset.without(np.concatenate(self._rest)), []
        return [np.pad(rest, (0, FRAME - len(rest)))]

    def forget_rest(self) -> None:
        """Drop the incomplete frame."""
        self._rest = []

    def take(self, frame: Samples) -> None:
        """Process the next frame. The echo of a reply is not speech."""
        filtered = frame if self._noise is None else self._noise.reduced(frame)
        self._utterance.add(filtered if self._words_filtered else frame)
        spoken_until = self.detector.last_speech
        self.echo.hear(frame)
        probability = (self._in_full_band if self.narrow_band else self._activity).probability(filtered)
        self.detector.feed(frame, 0.0 if probability > MAYBE_SPEECH and self.echo.is_echo() else probability)
        if spoken_until < self.detector.began < self.detector.last_speech:
            self._utterance.note_pause(spoken_until, self.detector.began)

    def skip(self, frame: Samples) -> None:
        """Ignore the next frame, but advance the clock."""
        self.dropped += len(frame)
        self.detector.skip(len(frame))
        self.echo.skip(len(frame))
        self._utterance.skip(len(frame))

    def reduce_noise(self, strength: float, *, words: bool) -> None:
        """Detect speech in sound with less noise from now on. strength: 0 to 1; 0: unfiltered. words: whether the
        recogniser gets the filtered sound, too. Raises EngineUnavailable."""
        if strength and self._noise is not None:
            self._noise.strength = strength
        else:
            self._noise = NoiseFilter(strength) if strength else None
        self._words_filtered = words

    # --- the reply's echo ---

    def arrived(self, now_s: float) -> None:
        """Note that all audio so far has arrived by this loop time."""
        self._clock.arrived(self.received, now_s)

    def plays(self, clip: Clip, at_s: float) -> None:
        """Take sound of a reply that the client starts to play at this loop time: its echo is not speech."""
        if (at := self._clock.sample_at(at_s)) is not None:
            self.echo.plays(self._reply.take(clip), at)

    # --- the buffer ---

    def begin(self, at: int) -> None:
        """Start an utterance at this sample: keep audio from there on, with its pre-roll."""
        self._utterance.begin(at - self._preroll)

    def keep_newest(self, seconds: float) -> None:
        """Drop older audio."""
        self._utterance.keep_from(self.detector.now - samples(1000 * seconds))

    def keep_preroll(self, at: int) -> None:
        """Keep only the pre-roll of an utterance that starts at this sample."""
        self._utterance.keep_from(at - self._preroll)

    def leave_behind(self, until: int | None = None) -> None:
        """Drop the audio up to this sample (None: all), because its utterance is over; later audio is a new run of
        speech."""
        self.detector.cut()
        self._utterance.keep_from(self.detector.now if until is None else until)

    def leave_utterance_behind(self) -> None:
        """Drop the last speech; keep the silence since then, which can hold the pre-roll of the next utterance."""
        self.leave_behind(min(self.detector.now, self.detector.last_speech + FRAME // 2))

    def clip(self) -> Clip:
        """Return all audio in the buffer."""
        return self._utterance.clip()

    def cut(self) -> Clip:
        """Remove and return the audio before the longest pause."""
        at = self._utterance.longest_pause()
        first = self._utterance.clip(until=at)
        self._utterance.keep_from(at)
        return first

    @property
    def _preroll(self) -> int:
        return samples(self.preroll_ms)


def samples(ms: float) -> int:
    """Convert milliseconds to samples at 16 kHz."""
    return int(ms * RATE_HZ / 1000)


def milliseconds(count: int) -> float:
    """Convert samples at 16 kHz to milliseconds."""
    return count * 1000 / RATE_HZ
