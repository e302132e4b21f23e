"""The answers of one live conversation, one after the other: how they are begun, and which one is meant."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from pipeline.answering import Answer, Emit
from pipeline.audio import Clip
from pipeline.conversation import Conversation
from pipeline.events import Event, TranscriptFinal
from pipeline.listening.options import LiveOptions
from pipeline.listening.user_turn import UserTurn
from pipeline.manner import AsItStands, Manner
from pipeline.recording import Recorder
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.tasks import Tasks
from pipeline.tools import Company
from pipeline.turn import Announcement, Stages, Turn, Utterance
from pipeline.voices import Voice


class Wishes(Protocol):
    """How a conversation is to be answered from now on; `pipeline.session.Session` has them."""

    voice: Voice
    language: str | None
    """ISO 639-1 of what is spoken; None to detect it."""
    options: LiveOptions
    manner: Manner


class Answers:
    """At most one at a time is being prepared or given."""

    def __init__(
        self,
        conversation: Conversation,
        stages: Stages,
        settings: Settings,
        wishes: Wishes,
        *,
        company: Company,
        tasks: Tasks,
        emit: Emit,
        ended: Callable[[Answer], None],
        recorder: Recorder | None,
    ) -> None:
        """ended: told of each that was committed, after its end event. recorder: keeps the turns."""
        self._conversation, self._stages, self._settings, self._wishes = conversation, stages, settings, wishes
        self._company, self._tasks, self._emit, self._ended = company, tasks, emit, ended
        self.recorder = recorder
        self.current: Answer | None = None
        """What is being prepared or given."""
        self.sound: Clip | None = None
        """What of the user's sound it is about."""
        self.manner: Manner | None = None
        """In which it is prepared or given."""
        self._last: Answer | None = None

    @property
    def audible(self) -> bool:
        """Whether there is sound of it to be heard, or about to be."""
        return self.current is not None and self.current.playback.audible

    @property
    def saying(self) -> str:
        """The text around what is being played; empty while nothing is to be heard."""
        return self.current.saying if self.current is not None else ""

    def begin(
        self,
        utterance: Utterance,
        *,
        of: UserTurn | None = None,
        answers_silence: bool = False,
        manner: Manner | None = None,
        ahead: bool = True,
    ) -> Answer:
        """Prepare the next one; it is given when it is committed. of: what the user is saying, if that is answered.
        answers_silence: even if nothing was understood. manner: for this one only. ahead: false: no more than
        the transcript is prepared."""
        committed = asyncio.Event()
        manner = self.manner = manner or self._wishes.manner
        turn = Turn(
            self._stages,
            self._settings,
            voice=self._wishes.voice,
            language=self._wishes.language,
            answer_silence=answers_silence,
            said_before=of.parts.made if of is not None else (),
            manner=manner,
            committed=committed,
            ahead=ahead,
            company=self._company,
        )
        silence_ms = of.silence_ms if of is not None else 0.0
        self.current = Answer(
            turn.run(utterance, self._conversation),
            self._conversation,
            emit=self._recorded(utterance),
            ended=self._ended,
            spoke_until=asyncio.get_running_loop().time() - silence_ms / 1000,
            lead_ms=self._wishes.options.lead_ms,
            limit_s=self._settings.turn_timeout_s,
            answers_silence=answers_silence or isinstance(utterance, Announcement),
            committed=committed,
            said_item=of.item if of is not None else None,
            typed=utterance if isinstance(utterance, Transcript) else None,
            aloud=manner.aloud,
        )
        self.sound = utterance if of is not None and isinstance(utterance, Clip) else None
        self._tasks.keep(self.current.task)
        return self.current

    def beside(self, asked: AsItStands, manner: Manner) -> AsyncGenerator[Event, None]:
        """An answer outside of the conversation, whatever goes on in it."""
        wishes = self._wishes
        turn = Turn(self._stages, self._settings, voice=wishes.voice, language=wishes.language, manner=manner)
        return turn.run(asked, self._conversation)

    # --- what becomes of the current one ---

    def abandon(self) -> TranscriptFinal | None:
        """It is not prepared any more; one that is given goes on. Returns what was understood for it."""
        answer = self.current
        if answer is None or answer.committed:
            return None
        self.current = None
        answer.abandon()
        return answer.said

    def interrupt(self) -> None:
        """It is not given any more."""
        if self.current is not None and self.current.committed:
            self.current.interrupt()

    def is_over(self, answer: Answer) -> bool:
        """One has come to its end. Whether it was the current one; there is none now."""
        if answer is not self.current:
            return False
        self._last, self.current, self.sound = answer, None, None
        return True

    # --- what its client says of its sound ---

    def played(self, ms: float) -> None:
        """The client has played so much of the one that is given, or was given last: this overrides the clock."""
        given = self.current is not None and self.current.committed  # what is only prepared was not played
        answer = self.current if given else self._last
        if answer is not None:
            answer.correct(ms)

    def truncate(self, item: str, played_ms: float) -> None:
        """The client has played only so much of a reply: text past it leaves the conversation.

        Raises BadInput: item_not_found, not_spoken, out_of_range.
        """
        if self.current is not None and self.current.committed and self.current.item_id == item:
            self.current.truncate(played_ms)
        else:
            self._conversation.truncate(item, played_ms)

    def _recorded(self, utterance: Utterance) -> Emit:
        """What takes the events of a turn on this."""
        if self.recorder is None:
            return self._emit
        return self.recorder.of(self._conversation.id, utterance if isinstance(utterance, Clip) else None, self._emit)
