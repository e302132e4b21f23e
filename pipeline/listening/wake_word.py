"""Wake words: an open microphone is ignored until the user says one ("Okay Nabu").

The models are microWakeWord's (Kevin Ahrendt, Apache-2.0), streaming TensorFlow Lite models of about 60 kB inside
`pymicro-wakeword`, as Home Assistant's voice satellites use them: 0.2 % of a core per open microphone.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.errors import BadInput
from pipeline.listening.detector import RATE_HZ
from pipeline.support.installing import how_to_install


@dataclass(frozen=True, slots=True)
class WakeWord:
    """A model in the package."""

    phrase: str
    languages: tuple[str, ...] = ("en",)
    """Languages of the speakers it was trained on."""


WAKE_WORDS = {
    "okay_nabu": WakeWord("Okay Nabu", ("en", "nl", "fr", "de", "it", "es", "sv")),
    "hey_jarvis": WakeWord("Hey Jarvis"),
    "alexa": WakeWord("Alexa"),
    "hey_mycroft": WakeWord("Hey Mycroft"),
}
GAIN = 4.0
"""Amplification of the sound before the models, which find more in loud speech, as in Home Assistant's satellites.
Of 35 calls of "Okay Nabu" by 25 voices of Kokoro at -16 dBFS, 32 were heard instead of 24; of those at -26 and -36 dBFS
as many as without it, within one or two. Clipping does no harm."""
AWAKE_S = 8.0
"""Seconds after the wake word, or after the last activity, in which the user can speak without it."""


class WakeWordDetector(Protocol):
    """Finds one wake word in a stream of audio; one object per stream."""

    def hears(self, samples: Samples) -> bool:
        """Whether the wake word ends in these samples: float32 mono at 16 kHz, any number of them."""
        ...

    def reset(self) -> None:
        """Forget the audio so far."""
        ...


@cache
def wake_words() -> tuple[str, ...]:
    """Return the names of the wake words that this installation can detect; empty where the package has no build."""
    return tuple(WAKE_WORDS) if importlib.util.find_spec("pymicro_wakeword") is not None else ()


class MicroWakeWord:
    """One of `WAKE_WORDS`. Loading takes about 1 ms (20 ms the first time in a process)."""

    def __init__(self, name: str) -> None:
        """Raises BadInput (bad_parameter) for an unknown name or an installation without wake words."""
        check_wake_word(name)
        from pymicro_wakeword import MicroWakeWord as Detector
        from pymicro_wakeword import MicroWakeWordFeatures, Model

        self._detector = Detector.from_builtin(Model(name))
        self._features = MicroWakeWordFeatures()

    def __del__(self) -> None:
        # Python keeps an exception that is being raised only while this method runs: the destructor of
        # pymicro-features 2.0.2 clears it, and the program would raise SystemError instead.
        vars(self).clear()

    def hears(self, samples: Samples) -> bool:
        pcm = (np.clip(GAIN * samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        # Without a list, the first hit would leave features of these samples in the front end.
        found = [self._detector.process_streaming(features) for features in self._features.process_streaming(pcm)]
        return any(found)

    def reset(self) -> None:
        self._detector.reset()
        self._features.reset()


def check_wake_word(name: str) -> None:
    """Raises BadInput (bad_parameter) for a name that this installation cannot detect."""
    if not wake_words():
        raise BadInput(f"Wake words need the extra `wake`: {how_to_install('wake')}.", code="bad_parameter")
    if name not in wake_words():
        raise BadInput(f"wake_word must be one of {', '.join(wake_words())}.", code="bad_parameter")


class WakeGate:
    """Whether a session listens: it is asleep until the wake word, and again AWAKE_S after the last activity.

    Positions are samples received at 16 kHz.
    """

    def __init__(self, name: str, detector: WakeWordDetector) -> None:
        self.name = name
        self.asleep = True
        self._detector = detector
        self._until = 0

    def stay(self, now: int) -> None:
        """Stay awake, because something happens: the user speaks, or the assistant replies."""
        self._until = now + int(AWAKE_S * RATE_HZ)

    def wakes(self, frame: Samples, now: int) -> bool:
        """Whether this frame ends the wake word, while asleep. now: position of its end."""
        if not self._detector.hears(frame):
            return False
        self._detector.reset()
        self.wake(now)
        return True

    def wake(self, now: int) -> None:
        """Wake up without the wake word."""
        self.asleep = False
        self.stay(now)

    def falls_asleep(self, now: int) -> bool:
        """Whether the time without activity is over, while awake."""
        self.asleep = now >= self._until
        return self.asleep
