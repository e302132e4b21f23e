"""One answer of a live conversation: a turn whose events are held until it is committed, and its sound paced out."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from pipeline import events
from pipeline.audio import Clip
from pipeline.conversation import Conversation
from pipeline.events import Event, TranscriptFinal
from pipeline.playback import Playback, Span
from pipeline.workers.scheduler import Urgency, calling

log = logging.getLogger(__name__)

Emit = Callable[[Event], None]


class Answer:
    """Speculative until `commit()`: nothing leaves and the history is untouched. Then exactly one end event.

    Ends by itself (completed or failed), by `interrupt()`, or, before the commit, by `abandon()`.
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
        answers_silence: bool,
    ) -> None:
        """happenings: `Turn.run(…)`. emit: takes committed events, in order; must not block. ended: told once, after
        the end event. spoke_until: loop time of the user's last speech, from which all timings count.
        answers_silence: whether an empty transcript has an answer; if not, the commit gives UtteranceIgnored.
        """
        self.playback = Playback(self._sound, lead_ms=lead_ms)
        self.said: TranscriptFinal | None = None
        """What the user said, once it is known."""
        self.reply = ""
        """What is written of the reply so far."""
        self.over = False
        self.failed = False
        """Whether it has come to nothing; known before the end event where that is held."""
        self._interrupted = False
        self._conversation = conversation
        self._emit = emit
        self._ended = ended
        self._answers_silence = answers_silence
        self._committed = asyncio.Event()
        self._held: list[Event] = []
        self._loop = asyncio.get_running_loop()
        self._spoke_until = spoke_until
        self._started = self._loop.time()
        self._marks: dict[str, float] = {}
        with calling(session=conversation.id, urgency=Urgency.AHEAD) as self._caller:
            self.task = asyncio.create_task(self._run(happenings))

    @property
    def committed(self) -> bool:
        return self._committed.is_set()

    @property
    def understood(self) -> bool:
        """Whether it is known what the user said, and that it is something."""
        return self.said is not None and bool(self.said.text)

    def commit(self) -> None:
        """The user's turn is over: everything held leaves now, and what follows leaves as it comes."""
        self._mark("endpoint")
        self._caller.urgency = Urgency.NOW
        self._committed.set()
        self._release()

    def abandon(self) -> None:
        """The user goes on: this answer has never been."""
        self.over = True
        self.task.cancel()

    def interrupt(self) -> None:
        """The user cut in: sound stops with a fade, and the history keeps what was heard."""
        if self.over:
            return
        self._interrupted = True
        self._release_all()  # the turn has started, even if not even its words were known
        self.playback.stop()
        heard = self.playback.heard_text(self.reply)
        self._record(heard, interrupted=True)
        self._end(events.TurnInterrupted(self.playback.played_ms(), heard, self._timings({})))
        self.task.cancel()

    def withdraw(self, reason: str) -> None:
        """The user goes on before it is known what they said: there was no turn."""
        self._held.clear()
        self._end(events.UtteranceIgnored(reason))
        self.task.cancel()

    def correct(self, played_ms: float) -> None:
        """The client says what it has really played, during the answer or after its interruption; a reply that was
        heard to its end stays whole.
        """
        if not self.over:
            self.playback.report(played_ms)
        elif self._interrupted and self.said is not None:
            self._conversation.amend(self.playback.heard_text(self.reply, played_ms))

    async def _run(self, happenings: AsyncGenerator[Event, None]) -> None:
        playing = asyncio.create_task(self._play())
        end: Event | None = None
        try:
            async with aclosing(happenings):
                async for event in happenings:
                    match event:
                        case events.TurnCompleted() | events.TurnFailed():
                            end = event
                            self.failed = isinstance(event, events.TurnFailed)
                        case events.SpeechChunk(clip, span):
                            self.playback.add(clip, span)
                        case _:
                            self._take(event)
            self.playback.complete()
            await playing
            self._finish(end)
        except Exception:
            log.exception("an answer failed")
            self._end(events.TurnFailed("internal", "Something went wrong inside the service.", self._timings({})))
        finally:
            playing.cancel()
            await asyncio.wait([playing])

    async def _play(self) -> None:
        await self._committed.wait()
        await self.playback.run()

    def _take(self, event: Event) -> None:
        match event:
            case TranscriptFinal():
                self.said = event
            case events.ReplyDelta(text):
                self.reply += text
            case _:
                pass
        self._held.append(event)
        if self.committed:
            self._release()

    def _release(self) -> None:
        """What was held leaves, unless it is not known yet whether there is anything to answer."""
        if self.said is not None and not self.said.text and not self._answers_silence:
            self.withdraw("nothing_understood")
            return
        held, self._held = self._held, []
        for index, event in enumerate(held):
            if isinstance(event, events.TurnStarted) and self.said is None and not self._answers_silence:
                self._held = held[index:]  # a turn must not start that may turn out to have nothing to answer
                return
            self._say(event)

    def _say(self, event: Event) -> None:
        if not self.over:
            self._emit(event)

    def _sound(self, clip: Clip, span: Span) -> None:
        self._mark("first_sound")
        self._say(events.SpeechChunk(clip, span))

    def _finish(self, end: Event | None) -> None:
        """The turn has come to its own end, and everything was played."""
        match end:
            case events.TurnCompleted():
                self._record(self.reply)
                self._release_all()
                self._end(events.TurnCompleted(self.reply, self._timings(end.timings_ms), end.usage))
            case events.TurnFailed():
                self._record(self.playback.heard_text(self.reply))
                self._release_all()
                self._end(events.TurnFailed(end.code, end.message, self._timings(end.timings_ms)))
            case _:
                self._end(events.TurnFailed("internal", "The turn broke off.", self._timings({})))

    def _release_all(self) -> None:
        """A turn that failed before its transcript has started all the same."""
        held, self._held = self._held, []
        for event in held:
            self._say(event)

    def _record(self, heard: str, *, interrupted: bool = False) -> None:
        if self.said is None:
            if heard:
                self._conversation.announced(heard)
        elif self.said.text:
            self._conversation.record(self.said.text, self.said.language, heard, interrupted=interrupted)

    def _end(self, event: Event) -> None:
        if not self.over:
            self._say(event)
            self.over = True
            self._ended(self)

    def _mark(self, name: str) -> None:
        self._marks.setdefault(name, (self._loop.time() - self._spoke_until) * 1000)

    def _timings(self, turn: Mapping[str, float]) -> Mapping[str, float]:
        """All marks in ms since the user's last speech: the turn's own, and when its end was decided and heard."""
        offset = (self._started - self._spoke_until) * 1000
        marks = {name: round(ms + offset, 1) for name, ms in turn.items()}
        return marks | {name: round(ms, 1) for name, ms in self._marks.items()}
