"""Options of a live session: defaults, a few of them set for the deployment, which the client can change."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from pipeline.errors import BadInput
from pipeline.listening.wake_word import check_wake_word
from pipeline.settings import Settings

LIMITS: dict[str, tuple[float, float]] = {
    "vad_threshold": (0.05, 0.95),
    "preroll_ms": (0, 2000),
    "silence_ms": (100, 10_000),
    "min_silence_ms": (100, 10_000),
    "max_silence_ms": (100, 30_000),
    "speculate_ms": (60, 10_000),
    "speculations": (0, 20),
    "speculation_max_speech_s": (0, 600),
    "hold_ms": (32, 2000),
    "interrupt_ms": (60, 5000),
    "interrupt_words": (1, 10),
    "backchannel_ms": (100, 5000),
    "lead_ms": (40, 2000),
    "partial_ms": (0, 10_000),
    "max_utterance_s": (1, 600),
    "idle_prompt_s": (0, 86_400),
    "idle_timeout_s": (1, 86_400),
    "noise_reduction": (0, 1),
}
"""Range that a client can set for each number."""
MAX_NAME_CHARS = 60
"""Maximum length of the name of a voice."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Options of one session. Some have a setting of the same name, which gives the default and describes it."""

    turn_detection: bool = True
    """Whether the service decides when a turn is over; False: push-to-talk, the client decides."""
    adaptive_endpointing: bool = True
    """Wait less after a complete sentence, longer after a hesitation."""
    interruptible: bool = True
    """Whether the user can interrupt the assistant by speaking."""
    half_duplex: bool = False
    """Ignore the microphone while the assistant speaks: for loudspeakers without echo cancellation."""
    wake_word: str = ""
    """Ignore the microphone until this wake word is said (`listening/wake_word.py`); empty: always listen."""
    vad_threshold: float = 0.5
    """Speech probability (Silero VAD) above which a frame is speech."""
    preroll_ms: int = 300
    """Sound kept from before the first frame of speech, in ms."""
    silence_ms: int = 500
    min_silence_ms: int = 250
    """The shortest wait that adaptive endpointing can choose, in ms."""
    max_silence_ms: int = 1500
    """The longest wait that adaptive endpointing can choose, in ms."""
    speculate_ms: int = 100
    """Silence after which transcript, reply and first speech are prepared speculatively, in ms."""
    speculations: int = 3
    """Maximum number of speculative replies for an utterance; 0 disables speculation."""
    speculation_max_speech_s: float = 15.0
    """Utterances longer than this get no speculative reply, in seconds, unless the recogniser is idle."""
    hold_ms: int = 60
    """Speech after which the assistant pauses, until it is clear whether it is interrupted, in ms."""
    interrupt_ms: int = 250
    """Speech shorter than this never interrupts, in ms."""
    interrupt_words: int = 1
    """Number of words that an interruption needs (backchannels like "mhm" not counted)."""
    backchannel_ms: int = 800
    """Speech longer than this interrupts regardless of its words, in ms."""
    lead_ms: int = 200
    """How far ahead of real time the reply's sound is sent, in ms."""
    partial_ms: int = 500
    """Interval between partial transcripts while the user speaks, in ms; 0: none."""
    max_utterance_s: float = 60.0
    idle_prompt_s: float = 0.0
    idle_timeout_s: float = 600.0
    speaker_lock: str = ""
    noise_reduction: float = 0.0
    noise_reduction_words: bool = False
    """Whether the recogniser gets the filtered sound, too; it makes Whisper less exact."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the deployment's defaults."""
        names = [field.name for field in fields(cls) if field.name in type(settings).model_fields]
        return cls(**{name: getattr(settings, name) for name in names})

    def changed(self, wishes: Mapping[str, object]) -> Self:
        """Return a copy with the client's changes. Raises BadInput (bad_parameter) for an unknown name or a value out
        of range."""
        return replace(self, **{name: self._checked(name, value) for name, value in wishes.items()})

    def _checked(self, name: str, value: object) -> Any:
        if name not in self.__dataclass_fields__:
            raise BadInput(f"{name[:40]!r} is not an option of a conversation.", code="bad_parameter")
        current = getattr(self, name)
        try:
            if isinstance(current, str):
                return _name(value) if name != "wake_word" else _wake_word(value)
            if isinstance(current, bool):
                return _BOOLEANS[str(value).lower()]
            if not isinstance(value, str | int | float):
                raise TypeError
            number = type(current)(float(value))
        except (KeyError, ValueError, TypeError, OverflowError):
            raise BadInput(f"{name} cannot be {str(value)[:40]!r}.", code="bad_parameter") from None
        low, high = LIMITS[name]
        if not low <= number <= high:
            raise BadInput(f"{name} must be from {low:g} to {high:g}.", code="bad_parameter")
        return number


def _name(value: object) -> str:
    """Raises ValueError."""
    if not isinstance(value, str | None) or len(value or "") > MAX_NAME_CHARS:
        raise ValueError
    return "" if value in (None, "off") else value


def _wake_word(value: object) -> str:
    """Raises BadInput."""
    if value:
        check_wake_word(str(value))
    return str(value or "")


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
