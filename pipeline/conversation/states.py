"""The states of a live conversation, and the context of its transitions (`turn_taking`, `claims`).

Each state holds what exists in it and nothing else, so a prepared reply without a pause, or a claim without a reply,
cannot be written down.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.audio.clip import Clip
from pipeline.conversation.answer import Answer
from pipeline.conversation.dictation import Dictation
from pipeline.conversation.events import Event
from pipeline.conversation.partials import PartialTranscripts
from pipeline.conversation.pause_sound import PauseSound
from pipeline.conversation.playback import Playback
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.listening.detector import SpeechDetector
from pipeline.listening.ear import Ear
from pipeline.listening.false_alarms import Wariness
from pipeline.listening.interruption import BargeIn
from pipeline.listening.options import LiveOptions
from pipeline.stt import Transcript


@dataclass(frozen=True, slots=True)
class UserTurn:
    """One utterance of the user. Positions are samples received."""

    item: str
    """Id of the item that it will get."""
    began: int
    reply_options: ReplyOptions | None = None
    """How to reply to it; None: the conversation's reply options."""
    parts: tuple[asyncio.Task[Transcript], ...] = ()
    """Transcripts of its earlier parts, if it is too long to be transcribed at once, or continued after a premature
    endpoint."""
    speculations: int = 0
    """Number of speculative replies prepared for it."""

    def spoken(self, detector: SpeechDetector) -> bool:
        """Whether it has speech: after the press of a push-to-talk key, the user may not have spoken yet."""
        return detector.last_speech > self.began

    def spoke_until(self, detector: SpeechDetector) -> int:
        """Return the end of its last speech; its start if there was none."""
        return max(detector.last_speech, self.began)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is prepared or played."""

    answer: Answer
    options: ReplyOptions
    sound: Clip | None = None
    """Audio of the user's utterance that it replies to."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The user's speech during a reply."""

    speech: BargeIn
    since: int
    """First sample of the user's words, including refused claims that the claim continues."""
    turn: UserTurn | None = None
    """The utterance that it is, where the client decides about interruptions and replies: the reply continues."""

    @property
    def is_nothing(self) -> bool:
        """Whether it has nothing to reply to so far; the reply continues meanwhile."""
        return not self.speech.held and bool(self.speech.judged_until) and not self.speech.stands


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that was not a barge-in, or not yet."""

    since: int
    """Start of the claim, including refused claims that it continued."""
    began: int
    """Start of the claim itself."""
    ended: int
    """End of its last speech."""
    unjudged_ms: float
    """Duration of speech in it that was too short to be judged."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The floor is free."""

    refused: Refused | None = None
    """The last claim, which speech can still continue."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """The user is speaking, or holds the push-to-talk key."""

    turn: UserTurn


@dataclass(frozen=True, slots=True)
class Paused:
    """The user is silent and may have finished."""

    turn: UserTurn
    prepared: Reply | None = None
    """The speculative reply."""
    was_read: bool = False
    """Whether the transcript of this pause was requested without preparing a reply."""


@dataclass(frozen=True, slots=True)
class Answering:
    """The assistant is thinking or speaking."""

    reply: Reply
    turn: UserTurn | None = None
    """The user turn that it replies to, if any."""
    claim: Claim | None = None
    refused: Refused | None = None
    """The last claim, which speech can still continue."""
    continues: bool = False
    """Whether the user continued the turn after its endpoint, so that its parts belong to the next utterance."""

    @property
    def holding(self) -> bool:
        """Whether the reply is held for a decision."""
        return self.claim is not None and self.claim.speech.held

    @property
    def hears(self) -> UserTurn | None:
        """The user's utterance during the reply, which does not interrupt it."""
        return self.claim.turn if self.claim is not None else None


State = Listening | Hearing | Paused | Answering
Effect = Callable[[], object]
Step = tuple[State, list[Effect]]


class Context(Protocol):
    """Values that the transitions read, and their effects on a conversation (`effects`)."""

    options: LiveOptions
    reply_options: ReplyOptions
    language: str | None
    ear: Ear
    wariness: Wariness
    partials: PartialTranscripts
    dictation: Dictation
    pause_sound: PauseSound
    idle: Callable[[], bool]
    """Returns whether the recogniser has no calls."""

    def emit(self, event: Event, /) -> None:
        """Send an event to the client."""

    def begin_utterance(self, turn: UserTurn, /) -> None:
        """Start to keep the audio of a user turn and to transcribe it."""

    def make_partial(self) -> None:
        """Make a partial transcript, if one is due."""

    def cut_part(self, turn: UserTurn, /) -> None:
        """Cut off a part of a long utterance; `part_cut` follows."""

    def prepare(
        self, turn: UserTurn, options: ReplyOptions, *, ahead: bool, answers_silence: bool, commit: bool
    ) -> None:
        """Prepare a reply; `prepared` or, for commit, `committed` follows. ahead: False to prepare only the
        transcript."""

    def end_turn(self) -> None:
        """End the user turn; `endpoint` follows."""

    def stop_utterance(self, turn: UserTurn, /) -> None:
        """Give the utterance its item and report its end."""

    def write_down(self, turn: UserTurn, *, read: bool) -> None:
        """Transcribe an utterance that gets no reply. read: use the speculative transcript."""

    def note_down(self, turn: UserTurn | None, /) -> None:
        """Turn all audio into a user message; None: it is not that of a user turn."""

    def keep_preroll(self, refused: Refused | None, /) -> None:
        """Keep the pre-roll of an utterance or claim that starts now or has just started."""

    def hold(self, playback: Playback, /) -> None:
        """Hold the reply."""

    def resume(self, playback: Playback, /) -> None:
        """Resume the reply where it was held."""

    def judge(self, claim: Claim, /) -> None:
        """Transcribe a claim; `judged` follows."""

    def stop_judging(self) -> None:
        """Cancel the transcript of a claim."""

    def carry_over(self, turn: UserTurn, sound: Clip, /) -> None:
        """Transcribe the audio of a turn that ended too early as a part of the next one; `carried_over` follows."""

    def withdraw(self, turn: UserTurn, answer: Answer, /) -> None:
        """End a reply without a turn, because the user continued."""

    def free_floor(self) -> None:
        """Let the assistant say what waits for a free floor, or end."""
