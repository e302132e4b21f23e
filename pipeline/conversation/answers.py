"""The answers of one live conversation, one at a time: how they start and end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from pipeline.audio.clip import Clip
from pipeline.conversation.answer import Answer, Emit
from pipeline.conversation.events import Event, TranscriptFinal
from pipeline.conversation.history import Conversation
from pipeline.conversation.kept_turns import Recorder
from pipeline.conversation.reply_options import ReplyOptions, ReplyToHistory
from pipeline.conversation.tasks import Tasks
from pipeline.conversation.turn import Announcement, Stages, Turn, Utterance
from pipeline.conversation.user_turn import UserTurn
from pipeline.listening.options import LiveOptions
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.tools import Company
from pipeline.voices.catalogue import Voice


class Wishes(Protocol):
    """How a conversation gets its next replies; implemented by `pipeline.conversation.session.Session`."""

    voice: Voice
    language: str | None
    """Spoken language as ISO 639-1; None to detect it."""
    options: LiveOptions
    reply_options: ReplyOptions


class Answers:
    """Prepares and plays at most one answer at a time."""

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
        """ended: called for each committed answer, after its end event. recorder: keeps the turns."""
        self._conversation, self._stages, self._settings, self._wishes = conversation, stages, settings, wishes
        self._company, self._tasks, self._emit, self._ended = company, tasks, emit, ended
        self.recorder = recorder
        self.current: Answer | None = None
        """The answer that is being prepared or played."""
        self.sound: Clip | None = None
        """The user's audio that the current answer responds to."""
        self.reply_options: ReplyOptions | None = None
        """The reply_options of the current answer."""
        self._last: Answer | None = None

    @property
    def audible(self) -> bool:
        """Whether the current answer's audio is playing or about to play."""
        return self.current is not None and self.current.playback.audible

    @property
    def saying(self) -> str:
        """The text around the playback position; empty while nothing plays."""
        return self.current.saying if self.current is not None else ""

    def begin(
        self,
        utterance: Utterance,
        *,
        of: UserTurn | None = None,
        answers_silence: bool = False,
        reply_options: ReplyOptions | None = None,
        ahead: bool = True,
    ) -> Answer:
        """Prepare the next answer; it plays once committed. of: the user turn that it replies to, if any.
        answers_silence: reply even if nothing was understood. reply_options: for this answer only. ahead: False to
        prepare only the transcript."""
        committed = asyncio.Event()
        reply_options = self.reply_options = reply_options or self._wishes.reply_options
        turn = Turn(
            self._stages,
            self._settings,
            voice=self._wishes.voice,
            language=self._wishes.language,
            answer_silence=answers_silence,
            said_before=of.parts if of is not None else (),
            reply_options=reply_options,
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
            aloud=reply_options.aloud,
        )
        self.sound = utterance if of is not None and isinstance(utterance, Clip) else None
        self._tasks.keep(self.current.task)
        return self.current

    def beside(self, asked: ReplyToHistory, reply_options: ReplyOptions) -> AsyncGenerator[Event, None]:
        """Run a turn outside of the conversation, independent of the current answer."""
        wishes = self._wishes
        turn = Turn(
            self._stages, self._settings, voice=wishes.voice, language=wishes.language, reply_options=reply_options
        )
        return turn.run(asked, self._conversation)

    # --- the end of the current answer ---

    def abandon(self) -> TranscriptFinal | None:
        """Stop preparing the current answer; one that was committed continues. Returns its transcript, if there is
        one."""
        answer = self.current
        if answer is None or answer.committed:
            return None
        self.current = None
        answer.abandon()
        return answer.said

    def interrupt(self) -> None:
        """Stop the current answer if it was committed."""
        if self.current is not None and self.current.committed:
            self.current.interrupt()

    def is_over(self, answer: Answer) -> bool:
        """Handle the end of an answer. Returns whether it was the current one; none is current afterwards."""
        if answer is not self.current:
            return False
        self._last, self.current, self.sound = answer, None, None
        return True

    # --- playback reports of the client ---

    def played(self, ms: float) -> None:
        """Set how much the client has played of the current answer, or else of the last one; overrides the clock."""
        given = self.current is not None and self.current.committed  # an uncommitted answer was not played
        answer = self.current if given else self._last
        if answer is not None:
            answer.correct(ms)

    def truncate(self, item: str, played_ms: float) -> None:
        """Cut a reply at `played_ms`: later text leaves the conversation.

        Raises BadInput: item_not_found, not_spoken, out_of_range.
        """
        if self.current is not None and self.current.committed and self.current.item_id == item:
            self.current.truncate(played_ms)
        else:
            self._conversation.truncate(item, played_ms)

    def _recorded(self, utterance: Utterance) -> Emit:
        """Return the receiver for the events of a turn on `utterance`."""
        if self.recorder is None:
            return self._emit
        return self.recorder.of(self._conversation.id, utterance if isinstance(utterance, Clip) else None, self._emit)
