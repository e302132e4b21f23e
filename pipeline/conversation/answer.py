"""The answer of a live conversation: holds a turn's events until it is committed, and paces its audio."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.events import Event, TranscriptFinal
from pipeline.conversation.history import Conversation, item_id
from pipeline.conversation.playback import Playback
from pipeline.conversation.timeline import Span
from pipeline.errors import BadInput
from pipeline.llm import Message
from pipeline.stt import Transcript
from pipeline.telemetry import metrics
from pipeline.workers.caller import Urgency, calling

log = logging.getLogger(__name__)

Emit = Callable[[Event], None]

WORDS_BEFORE, WORDS_AFTER = 15, 6
"""Words of the reply before and after the playback position: a margin of some seconds, because the clock cannot tell to
the word what still echoes in the room."""


class Answer:
    """Produce and play one reply.

    Speculative until `commit()`: no event is emitted and the history is untouched. After the commit, exactly one end
    event follows. The answer ends by itself (completed or failed), by `interrupt()` or, before the commit, by
    `abandon()`.
    """

    def __init__(
        self,
        happenings: AsyncGenerator[Event, None],
        conversation: Conversation,
        *,
        emit: Emit,
        ended: Callable[["Answer"], None],
        spoke_until: float,
        lead_ms: float,
        fades: bool,
        limit_s: float,
        answers_silence: bool,
        committed: asyncio.Event | None = None,
        said_item: str | None = None,
        typed: Transcript | None = None,
        aloud: bool = True,
        is_echo: Callable[[str], bool] = lambda text: False,
    ) -> None:
        """happenings: `Turn.run(…)`. emit: receives committed events in order; must not block. ended: called once,
        after the end event. fades: see `Playback`. spoke_until: loop time of the user's last speech, the origin of all
        timings. limit_s: time from the commit to the end of the reply's audio; audio that is still unplayed then is
        dropped. answers_silence: whether to reply to an empty transcript; if not, the commit emits UtteranceIgnored.
        committed: event that the commit sets. said_item: id of the item for the user's words; None: create one. typed:
        the user's words, if they are already known. aloud: False for a text-only reply. is_echo: whether a transcript
        is the echo of an earlier reply, which gets no reply."""
        self.playback = Playback(self._sound, lead_ms=lead_ms, fades=fades)
        self.said: TranscriptFinal | None = None
        """The user's words, once they are transcribed."""
        self.reply = ""
        """Text of the reply so far."""
        self.over = False
        self.failed = False
        """Whether the turn has failed; known before the end event if that is held back."""
        self.item_id = item_id()
        """Id of the reply's item in the conversation, created with its first word."""
        self._interrupted = False
        self._begun = self._placed = False
        self._said_item, self._typed, self._aloud = said_item, typed, aloud
        self._is_echo = is_echo
        self._truncated_ms: float | None = None
        self._call_items: dict[str, str] = {}
        self._conversation = conversation
        self._emit = emit
        self._ended = ended
        self._answers_silence = answers_silence
        self._committed = committed or asyncio.Event()
        self._held: list[Event] = []
        self._loop = asyncio.get_running_loop()
        self._limit_s = limit_s
        self._due: float | None = None
        """Deadline on the loop's clock; None before the commit."""
        self._deadline: asyncio.Timeout | None = None
        self._spoke_until = spoke_until
        self._started = self._loop.time()
        self._marks: dict[str, float] = {}
        self._watch = metrics.TurnWatch("live", conversation.id, since_s=self._started - spoke_until)
        with calling(session=conversation.id, urgency=Urgency.AHEAD) as self._caller, self._watch.current():
            self.task = asyncio.create_task(self._run(happenings))

    @property
    def committed(self) -> bool:
        return self._committed.is_set()

    @property
    def understood(self) -> bool:
        """Whether the user's words are known and not empty."""
        return self.said is not None and bool(self.said.text)

    @property
    def asked(self) -> bool:
        """Whether it replies to typed words, which the conversation gets at once."""
        return self._typed is not None

    @property
    def saying(self) -> str:
        """The text around the playback position, which an echo can contain."""
        if not self._aloud or not self.playback.sent_ms:
            return ""
        heard = self.playback.heard_text(self.reply)
        rest = self.reply.lstrip()[len(heard) :]
        return " ".join([*heard.split()[-WORDS_BEFORE:], *rest.split()[:WORDS_AFTER]])

    @property
    def heard(self) -> tuple[str, str] | None:
        """Id and heard part of the reply while it is spoken; None if the conversation has both."""
        if not self._placed or self.over:
            return None
        return self.item_id, self.playback.heard_text(self.reply) if self._aloud else self.reply

    def commit(self) -> None:
        """Commit the turn: emit all held events, and emit later events as they arrive."""
        self._mark("endpoint")
        self._caller.hasten(Urgency.NOW)
        self._committed.set()
        self._due = self._loop.time() + self._limit_s
        if self._deadline is not None:
            self._deadline.reschedule(self._due)
        self._release()

    def abandon(self) -> None:
        """Discard this answer before its commit, because the user is still speaking; it leaves no trace."""
        self.over = True
        self._watch.end("abandoned")
        self.task.cancel()

    def interrupt(self) -> None:
        """Stop for a barge-in: fade the audio out and keep only the heard text in the history."""
        if self.over:
            return
        self._interrupted = True
        self._release_all()  # the turn has started, even if the user's words are not known yet
        if self.said is None and self._typed is not None:  # interrupted before its task ran
            self._start()
            self._take(TranscriptFinal(self._typed.text, self._typed.language))
        self.playback.stop()
        heard = self.playback.heard_text(self.reply) if self._aloud else self.reply
        self._record(heard, interrupted=True)
        self._end(events.TurnInterrupted(round(self.playback.played_ms(), 1), heard, self._timings({})))
        self.task.cancel()

    def withdraw(self, reason: str) -> None:
        """End without a turn, because the user continued before the first words were transcribed."""
        self._held.clear()
        self._end(events.UtteranceIgnored(reason))
        self.task.cancel()

    def correct(self, played_ms: float) -> None:
        """Apply the client's report of what it has played, during the answer or after its interruption. A reply that
        was heard to its end stays whole."""
        if not self.over:
            self.playback.report(played_ms)
        elif self._interrupted:
            heard = self.playback.timeline.heard_text(self.reply, played_ms)
            self._record(heard, interrupted=True)
            self._emit(events.HeardCorrected(round(min(played_ms, self.playback.sent_ms), 1), heard))

    def truncate(self, played_ms: float) -> None:
        """Cut the reply that is playing at `played_ms`: the client has played that much and will play no more.

        Raises BadInput (out_of_range) if `played_ms` is beyond the audio sent.
        """
        if played_ms > math.ceil(self.playback.sent_ms):
            raise BadInput(
                f"Audio content of {self.playback.sent_ms:.0f}ms is already shorter than {played_ms:g}ms.",
                code="out_of_range",
            )
        self._truncated_ms = played_ms
        self._record("", interrupted=True)

    async def _run(self, happenings: AsyncGenerator[Event, None]) -> None:
        playing = asyncio.create_task(self._play())
        end: Event | None = None
        try:
            async with asyncio.timeout_at(self._due) as self._deadline:
                async with aclosing(happenings):
                    async for event in happenings:
                        match event:
                            case events.TurnCompleted() | events.TurnFailed():
                                end = event
                                self.failed = isinstance(event, events.TurnFailed)
                            case events.SpeechChunk(clip, span):
                                self._mark("first_audio")
                                self.playback.add(clip, span)
                            case _:
                                self._take(event)
                self.playback.complete()
                await playing
                self._deadline = None
            self._finish(end)
        except TimeoutError:
            log.warning("a reply was not played within its limit of %g s", self._limit_s)
            self._take_too_long()
        except Exception:
            log.exception("a reply failed")
            self._end(events.TurnFailed("internal", "Something went wrong inside the service.", self._timings({})))
        finally:
            self._deadline = None
            playing.cancel()
            await asyncio.wait([playing])
            self._watch.end("abandoned")  # without effect if the answer has ended

    async def _play(self) -> None:
        await self._committed.wait()
        await self.playback.run()

    def _take(self, event: Event) -> None:
        match event:
            case TranscriptFinal():
                self.said = event
                self._mark("transcript")
            case events.ReplyDelta(text):
                self.reply += text
                self._mark("first_token")
            case _:
                pass
        self._held.append(event)
        if self.committed:
            self._release()

    def _release(self) -> None:
        """Emit the held events, unless it is still open whether there is anything to reply to."""
        if self.said is not None and not self.said.text and not self._answers_silence:
            self.withdraw("nothing_understood")
            return
        if self.said is not None and not self._begun and not self._answers_silence and self._is_echo(self.said.text):
            self.withdraw("echo")
            return
        held, self._held = self._held, []
        for index, event in enumerate(held):
            if isinstance(event, events.TurnStarted) and self.said is None and not self._answers_silence:
                self._held = held[index:]  # a turn must not start while its transcript may still turn out empty
                return
            self._say(event)

    def _say(self, event: Event) -> None:
        if not self.over:
            self._emit(self._placed_in_conversation(event))

    def _placed_in_conversation(self, event: Event) -> Event:
        """Store what an emitted event adds to the conversation, and set the event's item id."""
        match event:
            case events.TurnStarted():
                self._begun = True
                return replace(event, item_id=self.item_id)
            case TranscriptFinal(text, language):
                if self._said_item is None and text:
                    self._said_item = self._conversation.place().id
                if self._said_item is not None:
                    self._conversation.heard(self._said_item, text, language)
            case events.ReplyDelta() if not self._placed:
                self._placed = True
                self._conversation.place(id=self.item_id)
            case events.ToolStarted(call):
                # Before the reply: so far it holds only filler words, and its rest reports the call's result.
                place = self._call_items[call.id] = self._conversation.place(before=self.item_id).id
                return replace(event, item_id=place)
            case events.ToolEnded(call, _, output):
                place = self._call_items[call.id]
                messages = (Message("assistant", "", calls=(call,)), Message("tool", output, call_id=call.id))
                self._conversation.called(place, *messages)
                return replace(event, item_id=place)
            case events.ToolCalled(call):
                return replace(event, item_id=self._conversation.place(Message("assistant", "", calls=(call,))).id)
            case _:
                pass
        return event

    def _sound(self, clip: Clip, span: Span) -> None:
        self._mark("first_sound")
        self._say(events.SpeechChunk(clip, span))

    def _finish(self, end: Event | None) -> None:
        """End after the turn has ended and all its audio was played."""
        match end:
            case events.TurnCompleted():
                self._release_all()
                self._record(self.reply)
                self._end(replace(end, reply=self.reply, timings_ms=self._timings(end.timings_ms)))
            case events.TurnFailed():
                self._release_all()
                self._record(self.playback.heard_text(self.reply))
                self._end(events.TurnFailed(end.code, end.message, self._timings(end.timings_ms)))
            case _:
                self._end(events.TurnFailed("internal", "The turn ended unexpectedly.", self._timings({})))

    def _take_too_long(self) -> None:
        """End at the time limit: the text heard by now is the reply."""
        self._release_all()
        self.playback.stop()
        self._record(self.playback.heard_text(self.reply) if self._aloud else self.reply, interrupted=True)
        self._end(events.TurnFailed("timeout", "The turn took too long.", self._timings({})))

    def _release_all(self) -> None:
        """Emit all held events: a turn that failed before its transcript has started all the same."""
        held, self._held = self._held, []
        for event in held:
            self._say(event)

    def _record(self, heard: str, *, interrupted: bool = False) -> None:
        """Store the heard part of the reply in the conversation."""
        if self._truncated_ms is not None:
            heard, interrupted = self.playback.timeline.heard_text(self.reply, self._truncated_ms), True
        if self._placed:
            sound = self.playback.timeline if self._aloud and self.playback.sent_ms else None
            self._conversation.replied(self.item_id, heard, reply=self.reply, sound=sound, interrupted=interrupted)

    def _end(self, event: Event) -> None:
        if not self.over:
            if not isinstance(event, events.UtteranceIgnored):
                self._start()
            self._say(event)
            self.over = True
            self._watched(event)
            self.playback.forget()
            self._ended(self)

    def _watched(self, end: Event) -> None:
        match end:
            case events.TurnCompleted():
                self._watch.end("completed", timings_ms=end.timings_ms)
            case events.TurnInterrupted():
                self._watch.end("interrupted", timings_ms=end.timings_ms)
            case events.TurnFailed(code):
                self._watch.end("failed", code=code, timings_ms=end.timings_ms)
            case _:
                self._watch.end("ignored")

    def _start(self) -> None:
        """Emit TurnStarted if it was not emitted yet; needed when a turn ends before its task ran."""
        if not self._begun:
            self._say(events.TurnStarted(self._watch.id))

    def _mark(self, name: str) -> None:
        self._marks.setdefault(name, (self._loop.time() - self._spoke_until) * 1000)

    def _timings(self, turn: Mapping[str, float]) -> Mapping[str, float]:
        """Return all marks in ms since the user's last speech: the turn's own marks (or, if it broke off before
        reporting them, the times at which they were noticed here), the endpoint, and the first sound sent."""
        offset = (self._started - self._spoke_until) * 1000
        marks = {name: round(ms, 1) for name, ms in self._marks.items()}
        return marks | {name: round(ms + offset, 1) for name, ms in turn.items()}
