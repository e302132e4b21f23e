"""Events of a turn, in this order:

    TurnStarted, TranscriptPartial*, TranscriptFinal, ReplyDelta*, SpeechStarted?, SpeechChunk*,
    then exactly one of TurnCompleted, TurnInterrupted, TurnFailed.

A live conversation (`session.py`) adds, before a turn, UserSpeechStarted, TranscriptPartial*, UserSpeechStopped;
within a turn, SpeechHeld and SpeechResumed; and UtteranceIgnored in place of a turn if there is nothing to reply to.
WakeWordHeard precedes the first UserSpeechStarted of a session with a wake word, and of each one after FellAsleep.
UtteranceCommitted replaces UserSpeechStopped where the client has ended an utterance that must not get an automatic
reply. An utterance without an automatic reply has UtteranceTranscribed or UtteranceFailed in place of a turn; if it may
not interrupt, it can come within a turn. UserIdle precedes a turn in which the assistant asks whether the user is still
there.

Function calls in a turn: ToolStarted and ToolEnded for functions that run here, ToolCalled for functions that the
client runs. A turn ends after ToolCalled, and the client asks for the reply to its result.

ReplyDelta and SpeechChunk interleave, because the reply is spoken while it is written. StageError can come before the
end where a turn continues without a stage (TTS failed, the text still arrives).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.audio.clip import Clip
from pipeline.llm import ToolCall, Usage
from pipeline.stt import Word


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The utterance is complete and its turn starts."""

    turn_id: str
    item_id: str = ""
    """Id of the reply's item, in a live conversation."""


@dataclass(frozen=True, slots=True)
class WakeWordHeard:
    """The wake word was said: the session listens."""

    wake_word: str
    at_ms: float
    """Position on the clock of audio received in this session."""


@dataclass(frozen=True, slots=True)
class FellAsleep:
    """Nothing happened for `listening.wake_word.AWAKE_S`: the session ignores the microphone until the wake word."""

    at_ms: float
    """Position on the clock of audio received in this session."""


@dataclass(frozen=True, slots=True)
class UserSpeechStarted:
    """The user started to speak."""

    at_ms: float
    """Position on the clock of audio received in this session."""
    item_id: str = ""
    """Id of the item that the utterance will get."""


@dataclass(frozen=True, slots=True)
class UserSpeechStopped:
    """The user turn is over."""

    at_ms: float
    """End of the last speech, on the clock of received audio; the silence after it is not counted."""
    item_id: str = ""
    """Id of the utterance's item; its words follow later."""


@dataclass(frozen=True, slots=True)
class UtteranceCommitted:
    """The client has ended the utterance, which gets no automatic reply."""

    item_id: str
    """Id of the utterance's item; its words follow later."""


@dataclass(frozen=True, slots=True)
class UtteranceTranscribed:
    """The transcript of an utterance without an automatic reply."""

    item_id: str
    text: str
    language: str | None
    seconds: float
    """Duration of the audio."""
    words: Sequence[Word] = ()
    """Words as in `TranscriptFinal`."""


@dataclass(frozen=True, slots=True)
class UtteranceFailed:
    """An utterance without an automatic reply could not be transcribed."""

    item_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class UserIdle:
    """The conversation had no activity for idle_prompt_s."""

    since_ms: float
    at_ms: float
    """Position on the clock of audio received in this session."""


@dataclass(frozen=True, slots=True)
class UtteranceIgnored:
    """An utterance had nothing to reply to; no turn follows. Reasons: nothing_understood; echo: it was the end of the
    reply before; cleared; and continued: the user continued before their words were transcribed, and the next utterance
    holds both."""

    reason: str


@dataclass(frozen=True, slots=True)
class SpeechHeld:
    """The reply pauses: the user makes a sound, and it is not decided yet whether it is a barge-in."""


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The reply resumes where it was held: the sound was not a barge-in."""


@dataclass(frozen=True, slots=True)
class TranscriptPartial:
    """The transcript so far, while the user still speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class TranscriptFinal:
    """The user's words."""

    text: str
    """Empty when nothing was said."""
    language: str | None
    """ISO 639-1 code."""
    words: Sequence[Word] = ()
    """Words with their probabilities, if the conversation asks for them (`ReplyOptions.words`) and the recogniser has
    them."""


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """The next chunk of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A call of a function that runs here has started."""

    call: ToolCall
    server: str
    """Location of the function: "parley", or the name of an MCP server; empty when the function does not exist."""
    item_id: str = ""
    """Id of the call's item, in a live conversation."""


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A call of a function that runs here has ended."""

    call: ToolCall
    server: str
    output: str
    failed: bool
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The client must run a function and report its result."""

    call: ToolCall
    item_id: str = ""
    """Id of the call's item, in a live conversation."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The first audio of the reply is ready."""

    rate_hz: int
    """Sample rate of all chunks of this turn."""


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """The next chunk of the reply's audio."""

    clip: Clip
    text_span: tuple[int, int]
    """Start and end, in characters of the whole reply, of the clause that this audio belongs to."""


@dataclass(frozen=True, slots=True)
class StageError:
    """A stage failed and the turn continues without it."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The reply was delivered completely."""

    reply: str
    timings_ms: Mapping[str, float]
    """Milliseconds from the turn's start to each mark of `pipeline.conversation.timings`."""
    usage: Usage | None = None
    cut: bool = False
    """The reply ended at its token limit."""


@dataclass(frozen=True, slots=True)
class TurnInterrupted:
    """The user interrupted the reply."""

    heard_ms: float
    heard_text: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeardCorrected:
    """The client has reported after an interruption how much was really played: the history now holds this."""

    heard_ms: float
    heard_text: str


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn could not produce a reply."""

    code: str
    message: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)


Event = (
    TurnStarted
    | WakeWordHeard
    | FellAsleep
    | UserSpeechStarted
    | UserSpeechStopped
    | UtteranceCommitted
    | UtteranceTranscribed
    | UtteranceFailed
    | UtteranceIgnored
    | UserIdle
    | SpeechHeld
    | SpeechResumed
    | TranscriptPartial
    | TranscriptFinal
    | ReplyDelta
    | ToolStarted
    | ToolEnded
    | ToolCalled
    | SpeechStarted
    | SpeechChunk
    | StageError
    | TurnCompleted
    | HeardCorrected
    | TurnInterrupted
    | TurnFailed
)
