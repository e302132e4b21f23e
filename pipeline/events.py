"""What happens in a turn, in this order:

    TurnStarted, TranscriptPartial*, TranscriptFinal, ReplyDelta*, SpeechStarted?, SpeechChunk*,
    then exactly one of TurnCompleted, TurnInterrupted, TurnFailed.

A live conversation (`pipeline.session`) adds, before a turn, UserSpeechStarted, TranscriptPartial*, UserSpeechStopped;
within one, SpeechHeld and SpeechResumed; and UtteranceIgnored instead of a turn that would have had nothing to answer.
UtteranceCommitted stands for UserSpeechStopped where the client has ended an utterance that it does not want answered.
An utterance that is not to be answered has UtteranceTranscribed or UtteranceFailed instead of a turn. UserIdle precedes
a turn in which the assistant asks whether somebody is there.

Functions that a turn calls: ToolStarted, ToolEnded for those that run here, ToolCalled for those that the client runs:
a turn with one of these ends, and its answer is the client's to ask for.

ReplyDelta and SpeechChunk interleave: the reply is spoken while it is written. StageError may come before the end
where a turn goes on without a stage (speech failed, the text still arrives).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.audio import Clip
from pipeline.llm import ToolCall, Usage
from pipeline.stt import Word


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The utterance is complete and its turn begins."""

    turn_id: str
    item_id: str = ""
    """The reply's place in the conversation, in a live one."""


@dataclass(frozen=True, slots=True)
class UserSpeechStarted:
    """The user began to speak."""

    at_ms: float
    """On the clock of sound received in this session."""
    item_id: str = ""
    """The place in the conversation that the utterance will have."""


@dataclass(frozen=True, slots=True)
class UserSpeechStopped:
    """The user's turn is over."""

    at_ms: float
    """End of the last speech, on the same clock; the silence that followed is not counted."""
    item_id: str = ""
    """The utterance's place in the conversation; its words are still to come."""


@dataclass(frozen=True, slots=True)
class UtteranceCommitted:
    """The utterance has ended by its client's word, and is not answered by itself."""

    item_id: str
    """Its place in the conversation; its words are still to come."""


@dataclass(frozen=True, slots=True)
class UtteranceTranscribed:
    """The words of an utterance that is not answered by itself."""

    item_id: str
    text: str
    language: str | None
    seconds: float
    """How long its sound is."""
    words: Sequence[Word] = ()
    """As of a `TranscriptFinal`."""


@dataclass(frozen=True, slots=True)
class UtteranceFailed:
    """The words of an utterance that is not answered by itself could not be made out."""

    item_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class UserIdle:
    """Nobody has spoken for as long as IDLE_PROMPT_S."""

    since_ms: float
    at_ms: float
    """On the clock of sound received in this session."""


@dataclass(frozen=True, slots=True)
class UtteranceIgnored:
    """There was sound like speech but nothing to answer; no turn follows. Reasons: nothing_understood,
    cleared, and continued: the user went on before it was known what they had said; the next utterance holds both."""

    reason: str


@dataclass(frozen=True, slots=True)
class SpeechHeld:
    """The reply pauses: the user makes a sound, and it is not decided yet whether it is an interruption."""


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """It was none: the reply goes on from where it was held."""


@dataclass(frozen=True, slots=True)
class TranscriptPartial:
    """What was understood so far, while the user still speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class TranscriptFinal:
    """What the user said."""

    text: str
    """Empty when nothing was said."""
    language: str | None
    """ISO 639-1."""
    words: Sequence[Word] = ()
    """With their probabilities, where the conversation wants them (`Manner.words`) and the recogniser has them."""


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """The next piece of the written reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A function is called that runs here."""

    call: ToolCall
    server: str
    """Where it runs: "parley", or the name of an MCP server; empty when there is no such function."""
    item_id: str = ""
    """The call's place in the conversation, in a live one."""


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """It has ended."""

    call: ToolCall
    server: str
    output: str
    failed: bool
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The client is to run a function and to say what came of it."""

    call: ToolCall
    item_id: str = ""
    """The call's place in the conversation, in a live one."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The first sound of the reply is there."""

    rate_hz: int
    """Of all chunks of this turn."""


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """The next piece of the spoken reply."""

    clip: Clip
    text_span: tuple[int, int]
    """Start and end, in characters of the whole reply, of the clause that this sound belongs to."""


@dataclass(frozen=True, slots=True)
class StageError:
    """A stage failed and the turn goes on without it."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The reply was given whole."""

    reply: str
    timings_ms: Mapping[str, float]
    """Milliseconds from the turn's start to each mark of `pipeline.timing`."""
    usage: Usage | None = None
    cut: bool = False
    """It ended at its limit of tokens."""


@dataclass(frozen=True, slots=True)
class TurnInterrupted:
    """The user cut in."""

    heard_ms: float
    heard_text: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeardCorrected:
    """After an interruption the client has told how much was really played: this is what the history holds now."""

    heard_ms: float
    heard_text: str


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """No reply could be given."""

    code: str
    message: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)


Event = (
    TurnStarted
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
