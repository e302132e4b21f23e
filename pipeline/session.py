"""A live conversation: sound in, events out, for any transport.

The states and rules are those of `docs/turn-taking.md`. All methods are called from one event loop and never block;
what takes time (a turn, a judgement, a partial transcript) is a task of this session and ends with it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from enum import Enum, auto
from types import TracebackType
from typing import Any, Protocol, Self

from pipeline import events, observing, stt, tracing
from pipeline.answering import Answer
from pipeline.audio import Clip, Samples
from pipeline.channel import Channel
from pipeline.conversation import Conversation, Item, Reminder, item_id
from pipeline.dictation import Dictation
from pipeline.errors import BadInput, Overloaded, ParleyError
from pipeline.events import Event
from pipeline.listening.detector import VoiceActivity
from pipeline.listening.ear import Ear, milliseconds
from pipeline.listening.endpointing import delay
from pipeline.listening.floor import Floor
from pipeline.listening.options import LiveOptions
from pipeline.listening.partials import PartialTranscripts
from pipeline.listening.parts import MAX_PARTS, Parts
from pipeline.llm import Message
from pipeline.manner import AsItStands, Manner
from pipeline.phrases import STILL_THERE, phrase
from pipeline.recording import Recorder
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.tasks import Tasks
from pipeline.turn import Announcement, Stages, Turn
from pipeline.voices import Voice

EVENTS_AHEAD = 1024
"""Events a slow reader may be behind (some 30 s of sound) before its session ends."""
ONSET_MS = 60
"""Speech that begins an utterance: two frames, more than a click."""
ANNOUNCEMENTS_AHEAD = 8
"""Announcements that may wait for a pause; a further one is dropped."""
MAX_REMINDERS = 32
"""Of one conversation, not announced yet."""
STALLED_S = 2.0
"""No sound at all for so long in the middle of an utterance ends it."""


class State(Enum):
    """See `docs/turn-taking.md`."""

    LISTENING = auto()
    HEARING = auto()
    PAUSED = auto()
    ANSWERING = auto()


class Sink(Protocol):
    """What takes the events of a session, in order; `Channel` is one."""

    def offer(self, event: Event, /) -> bool:
        """Take the next event; False when there is no room for it. Must not block."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """There are no more; error: why the session has ended itself."""
        ...


class Session:
    """One live conversation. `async with` it, `hear()` what comes in, iterate `events`."""

    def __init__(
        self,
        stages: Stages,
        settings: Settings,
        options: LiveOptions,
        conversation: Conversation,
        *,
        voice: Voice,
        language: str | None,
        activity: VoiceActivity,
        manner: Manner | None = None,
        sink: Sink | None = None,
        recorder: Recorder | None = None,
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        """activity: the VAD of this session. language: ISO 639-1 of what is spoken; None to detect it. sink: takes the
        events as they happen, instead of `events`. recorder: keeps its turns. idle: whether nobody has the recogniser
        at work.
        """
        self.events: Channel[Event] = Channel(EVENTS_AHEAD)
        """What happens, in order; closed with an Overloaded when the reader is too slow."""
        self.ended = asyncio.Event()
        """Set when the session has ended itself: whoever opened it has to close it now, even if nobody reads why."""
        self._sink: Sink = sink or self.events
        self.manner = manner or Manner()
        """How turns are answered; may be changed at any time, for the turns from then on."""
        self.conversation = conversation
        self.voice, self.language, self.options = voice, language, options
        self._stages, self._settings = stages, settings
        self._recorder, self._idle = recorder, idle
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(conversation.id)
        self._ear = Ear(activity, threshold=options.vad_threshold, preroll_ms=options.preroll_ms)
        self._floor = Floor(
            self._ear,
            transcribe=self._transcribe,
            start=self._tasks.start,
            held=lambda: self._emit(events.SpeechHeld()),
            resumed=self._resumed,
            taken=self._cut_in,
        )
        self._parts = Parts(self._transcribe, self._tasks.start)
        """What the utterance being spoken began with."""
        self._state = State.LISTENING
        self._answer: Answer | None = None
        self._last_answer: Answer | None = None
        self._asked: Clip | None = None
        """The sound that `_answer` is about, if it is about sound of the stream."""
        self._began = 0
        """Where the utterance begins, on the detector's clock."""
        self._speculations = 0
        self._partials = PartialTranscripts(self._transcribe, lambda text: self._emit(events.TranscriptPartial(text)))
        self._active_at = self._heard_at = self._loop.time()
        self._active_ms = 0.0
        self._prompted = False
        self._item = ""
        """The place that the utterance being spoken will have in the conversation."""
        self._dictation = Dictation(conversation, self._transcribe, self._emit, limit_s=settings.stt_timeout_s)
        self._announcements: deque[Announcement] = deque()
        self._finishing: ParleyError | None = None

    async def __aenter__(self) -> Self:
        self._tasks.start(self._watch())
        for reminder in self.conversation.reminders:
            self._tasks.start(self._remind(reminder))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End everything that runs for this session; what was heard of a running reply is kept."""
        self._announcements.clear()
        self._stop()
        self._sink.close()
        await self._tasks.close()

    @property
    def received(self) -> int:
        """Samples heard so far: the session's clock. None is lost, whatever becomes of it."""
        return self._ear.received

    @property
    def dropped(self) -> int:
        """Samples that were received and belong to no utterance by decision (half duplex)."""
        return self._ear.dropped

    # --- what comes in ---

    def hear(self, samples: Samples) -> None:
        """The next sound of the user: float32 mono at 16 kHz, any number of samples."""
        self._heard_at = self._loop.time()
        for frame in self._ear.frames(samples):
            self._step(frame)
        if self._state is State.PAUSED and self.options.turn_detection:
            self._wait_for_the_end(self._ear.silence_ms)

    def begin(self) -> None:
        """Push-to-talk: the key is pressed. Stops a running reply; an utterance that was going on goes on."""
        self._stop()
        self._abandon()
        if self._state in (State.HEARING, State.PAUSED):
            self._state = State.HEARING
        else:
            self._begin(self._ear.detector.now)

    def commit(self) -> None:
        """The user's turn is over now, whatever the silence. Raises BadInput (no_audio) when nothing was recorded."""
        if self._state not in (State.HEARING, State.PAUSED):
            raise BadInput("There is no sound to commit.", code="no_audio")
        self._endpoint(answers_silence=True)

    def clear(self) -> None:
        """Forget what was recorded and not committed."""
        if self._state in (State.HEARING, State.PAUSED):
            self._forget()
            self._listen()
        elif self.manner.keeps_all:
            self._ear.forget_rest()
            self._ear.leave_behind()

    def note(self) -> None:
        """What was recorded becomes a message of the user that is not answered by itself, a running reply goes on.

        Raises BadInput (no_audio) when nothing was recorded.
        """
        if self.manner.keeps_all:
            for frame in self._ear.rest():
                self._step(frame)
        if not self._ear.kept_s or (self._state is State.ANSWERING and not self.manner.keeps_all):
            raise BadInput("There is no sound to commit.", code="no_audio")
        spoken = self._state in (State.HEARING, State.PAUSED)
        clip = self._ear.clip()
        self._abandon()
        self._partials.end()
        self._ear.leave_behind()
        item = self.conversation.place(id=self._item if spoken else None).id
        self._emit(events.UtteranceCommitted(item))
        self._write_down(clip, item)
        if spoken:
            self._listen()

    def dictate(self, clip: Clip, *, id: str | None = None, after: str | None = None) -> Item:
        """A whole utterance at once, beside the stream of sound: written down, not answered by itself.

        id, after: its place, see `Conversation.place`. Raises BadInput.
        """
        item = self.conversation.place(id=id, after=after)
        self._dictation.keep(self._tasks.start(self._dictation.write(clip, item.id, (), self._dictation.pending)))
        return item

    def respond(self, manner: Manner | None = None, *, instead: Sequence[Message] | None = None) -> str:
        """Answer the conversation as it stands; what is being said is noted first. Returns the reply's item.

        manner: for this answer only. instead: answered in place of the conversation's messages.
        Raises BadInput (already_answering): one answer at a time.
        """
        if self._state is State.ANSWERING:
            raise BadInput("An answer is being given already.", code="already_answering")
        if self._state in (State.HEARING, State.PAUSED):
            self.note()
        self._active_at = self._loop.time()
        self._state = State.ANSWERING
        asked = AsItStands(before=self._dictation.pending, messages=instead)
        answer = self._reply_to(asked, answers_silence=True, manner=manner)
        answer.commit()
        return answer.item_id

    def aside(self, manner: Manner, messages: Sequence[Message] | None) -> AsyncGenerator[Event, None]:
        """An answer outside of the conversation, beside whatever goes on in it; its sound is not paced.

        messages: what is answered; None: the conversation as it stands.
        """
        turn = Turn(self._stages, self._settings, voice=self.voice, language=self.language, manner=manner)
        return turn.run(AsItStands(before=self._dictation.pending, messages=messages), self.conversation)

    def truncate(self, item: str, played_ms: float) -> None:
        """The client has played only so much of a reply: text past it leaves the conversation.

        Raises BadInput: item_not_found, not_spoken, out_of_range.
        """
        if self._answer is not None and self._answer.committed and self._answer.item_id == item:
            self._answer.truncate(played_ms)
        else:
            self.conversation.truncate(item, played_ms)

    @property
    def answering(self) -> bool:
        """Whether an answer is being given."""
        return self._state is State.ANSWERING

    @property
    def hearing(self) -> bool:
        """Whether the user is saying something that is not answered yet."""
        return self._state in (State.HEARING, State.PAUSED)

    # --- company for the functions that are called in it (`pipeline.tools.Company`) ---

    @property
    def spoken_language(self) -> str | None:
        """What is spoken in it (ISO 639-1), as far as it is known."""
        return self.language or self.conversation.language

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this beside the conversation, ended with it."""
        self._tasks.start(work)

    def remind(self, seconds: float, text: str) -> bool:
        """Announce this after so many seconds, also when the connection is another one by then; False: there are too
        many such announcements already."""
        if len(self.conversation.reminders) >= MAX_REMINDERS:
            return False
        reminder = Reminder(self._loop.time() + seconds, text)
        self.conversation.reminders.append(reminder)
        self._tasks.start(self._remind(reminder))
        return True

    async def _remind(self, reminder: Reminder) -> None:
        await asyncio.sleep(reminder.due_s - self._loop.time())
        self.conversation.reminders.remove(reminder)
        self.announce(reminder.text)

    def announce(self, text: str) -> None:
        """Say this as soon as nobody speaks; not at all when ANNOUNCEMENTS_AHEAD are waiting for that."""
        if len(self._announcements) >= ANNOUNCEMENTS_AHEAD:
            return
        self._announcements.append(Announcement(text, self.spoken_language or "en"))
        if self._state is State.LISTENING:
            self._speak_up()

    def _speak_up(self) -> None:
        if self._announcements and self._state is State.LISTENING:
            self._state = State.ANSWERING
            self._reply_to(self._announcements.popleft()).commit()

    def say(self, text: str) -> None:
        """A typed message of the user; it interrupts a running reply."""
        self._ask(Transcript(text, self.language, 0.0))

    def ask(self, utterance: Clip) -> None:
        """A whole utterance at once, beside the stream of sound; it interrupts a running reply."""
        self._ask(utterance)

    def configure(self, options: LiveOptions, *, voice: Voice, language: str | None) -> None:
        """Change this conversation from the next turn on; the VAD's threshold and the pacing with it."""
        self.options, self.voice, self.language = options, voice, language
        self._ear.detector.threshold, self._ear.preroll_ms = options.vad_threshold, options.preroll_ms
        decidable = options.turn_detection and (options.interruptible or not self._floor.holding)
        if self._floor.claimed is not None and not decidable:
            self._floor.refuse()  # nobody would decide any more whether it is an interruption

    def interrupt(self) -> None:
        """Stop the running reply, if there is one."""
        self._stop()

    def leave(self, reason: ParleyError) -> None:
        """The conversation does not go on here: a running reply is interrupted; the reader of `events` is told why."""
        self._stop()
        self._end(reason)

    def finish(self, reason: ParleyError) -> None:
        """The conversation ends as soon as nobody speaks in it and nothing is answered or written down any more; the
        reader of `events` is told why."""
        self._finishing = reason
        self._finish()

    def played(self, ms: float) -> None:
        """The client has played so many ms of the current (or last) reply: this overrides the clock."""
        speaks = self._answer is not None and self._answer.committed  # what is only prepared was not played
        answer = self._answer if speaks else self._last_answer
        if answer is not None:
            answer.correct(ms)

    # --- the states ---

    def _step(self, frame: Samples) -> None:
        if self.options.half_duplex and self._answer is not None and self._answer.playback.audible:
            self._ear.skip(frame)
            return
        self._ear.take(frame)
        if self._ear.detector.speaking:
            self._active_at, self._prompted = self._loop.time(), False
            self._active_ms = milliseconds(self._ear.detector.now)
        if not self.options.turn_detection:
            if self.manner.keeps_all:
                self._ear.keep_newest(self._settings.max_audio_seconds)
            elif self._state in (State.LISTENING, State.ANSWERING):
                self._ear.keep_preroll(self._ear.detector.now)
            else:
                self._grow()
            return
        match self._state:
            case State.LISTENING:
                self._wait_for_speech()
            case State.HEARING:
                self._follow()
            case State.PAUSED:
                self._wait_for_the_end(self._ear.detector.silence_ms)
            case State.ANSWERING if self._answer is not None:
                self._floor.follow(self._answer.playback, self.options, self.language)

    def _wait_for_speech(self) -> None:
        if self._ear.detector.run_ms >= ONSET_MS:
            self._begin(self._ear.detector.began)
        else:
            self._ear.keep_preroll()

    def _begin(self, at: int) -> None:
        """An utterance begins."""
        self._state = State.HEARING
        self._began = at
        self._speculations = 0
        self._parts.begin()
        self._partials.begin(at)
        self._ear.begin(at)
        self._item = item_id()
        self._emit(events.UserSpeechStarted(milliseconds(at), self._item))

    def _follow(self) -> None:
        """The user speaks."""
        detector = self._ear.detector
        silent = not detector.speaking and detector.silence_ms >= self.options.speculate_ms
        if silent and detector.last_speech > self._began:  # a key was pressed: speech may be yet to come
            self._state = State.PAUSED
            self._partials.end()
            self._speculate()
        else:
            self._grow()

    def _grow(self) -> None:
        """The utterance becomes longer."""
        if self._ear.kept_s >= self.options.max_utterance_s:
            if self.options.turn_detection and self._ear.detector.last_speech <= self._began:
                self._forget()  # a key was pressed, and nobody spoke
                self._listen()
            else:
                self._cut()
        elif self._partials.due(self._ear.detector.now, self.options.partial_ms):
            self._tasks.keep(self._partials.make(self._ear.clip(), self._ear.detector.now))

    def _wait_for_the_end(self, silence_ms: float) -> None:
        """The user is silent, perhaps done."""
        if self._ear.detector.run_ms >= ONSET_MS:
            self._abandon()
            self._state = State.HEARING
            return
        said = self._answer.said if self._answer else None
        wait_ms = delay(
            said.text if said else None,
            said.language if said else None,
            silence_ms=self.options.silence_ms,
            min_silence_ms=self.options.min_silence_ms,
            max_silence_ms=self.options.max_silence_ms,
            adaptive=self.options.adaptive_endpointing,
        )
        if silence_ms >= wait_ms and not self._ear.detector.speaking:
            self._endpoint()

    def _speculate(self) -> None:
        if (
            self.manner.answers
            and self._speculations < self.options.speculations
            and (self._ear.kept_s <= self.options.speculation_max_speech_s or self._idle())
        ):
            self._speculations += 1
            self._reply_to(self._ear.clip())

    def _endpoint(self, *, answers_silence: bool = False) -> None:
        self.conversation.place(id=self._item)
        self._emit(events.UserSpeechStopped(milliseconds(self._spoke_until), self._item))
        if not self.manner.answers:
            clip = self._ear.clip()
            self._abandon()
            self._partials.end()
            self._ear.leave_utterance_behind()
            self._write_down(clip, self._item)
            self._listen()
            return
        answer = self._answer
        # What failed in advance may succeed now; and who says "now" wants an answer even to silence.
        if answer is None or answer.failed or (answers_silence and not answer.understood):
            self._abandon()
            answer = self._reply_to(self._ear.clip(), answers_silence=answers_silence)
        self._partials.end()
        self._state = State.ANSWERING
        self._ear.leave_utterance_behind()
        self._ear.keep_preroll()
        answer.commit()

    def _cut_in(self) -> None:
        """It is an interruption. Of a turn whose words are not even known it is none: the user simply goes on."""
        answer = self._answer
        assert answer is not None  # noqa: S101  # it is what is interrupted
        if answer.said is None and self._asked is not None:
            self._parts.carry_over(self._asked)
            with contextlib.suppress(BadInput):  # its client may have deleted it
                self.conversation.delete(self._item)
            answer.withdraw("continued")
        else:
            answer.interrupt()

    def _resumed(self) -> None:
        observing.RESUMED.inc()
        self._emit(events.SpeechResumed())

    @property
    def _spoke_until(self) -> int:
        """The last speech of the utterance; its beginning when a key was pressed and nobody has spoken since."""
        return max(self._ear.detector.last_speech, self._began)

    # --- answers ---

    def _ask(self, utterance: Clip | Transcript) -> None:
        self._stop()
        if self._state in (State.HEARING, State.PAUSED):
            self._forget()
        self._active_at = self._loop.time()
        self._state = State.ANSWERING
        self._ear.keep_preroll()
        self._reply_to(utterance, answers_silence=True).commit()

    def _write_down(self, clip: Clip, item: str) -> None:
        writing = self._dictation.write(clip, item, self._parts.take(), self._dictation.pending)
        self._dictation.keep(self._tasks.start(writing))

    def _reply_to(
        self,
        utterance: Clip | Transcript | Announcement | AsItStands,
        *,
        answers_silence: bool = False,
        manner: Manner | None = None,
    ) -> Answer:
        committed = asyncio.Event()
        manner = manner or self.manner
        turn = Turn(
            self._stages,
            self._settings,
            voice=self.voice,
            language=self.language,
            answer_silence=answers_silence,
            said_before=self._parts.made,
            manner=manner,
            committed=committed,
            company=self,
        )
        followed = self._state in (State.HEARING, State.PAUSED)
        silence_ms = milliseconds(self._ear.received - self._spoke_until) if followed else 0.0
        self._answer = Answer(
            turn.run(utterance, self.conversation),
            self.conversation,
            emit=self._emitting(utterance),
            ended=self._answered,
            spoke_until=self._loop.time() - silence_ms / 1000,
            lead_ms=self.options.lead_ms,
            answers_silence=answers_silence or isinstance(utterance, Announcement),
            committed=committed,
            said_item=self._item if followed else None,
            typed=utterance if isinstance(utterance, Transcript) else None,
            aloud=manner.aloud,
        )
        self._asked = utterance if followed and isinstance(utterance, Clip) else None
        self._tasks.keep(self._answer.task)
        return self._answer

    def _emitting(self, utterance: object) -> Callable[[Event], None]:
        """What takes the events of a turn on this."""
        if self._recorder is None:
            return self._emit
        return self._recorder.of(self.conversation.id, utterance if isinstance(utterance, Clip) else None, self._emit)

    def _abandon(self) -> None:
        """No speculative answer any more; its transcript stays as a partial."""
        answer, self._answer = self._answer, None
        if answer is not None and not answer.committed:
            if answer.said is not None and not self._parts:
                self._partials.add(answer.said.text)
            answer.abandon()

    def _forget(self) -> None:
        """The utterance being spoken will not be answered, and its sound is no part of the next one."""
        self._partials.end()
        self._abandon()
        self._parts.forget()
        self._ear.leave_behind()
        self._emit(events.UtteranceIgnored("cleared"))

    def _stop(self) -> None:
        """End a running reply for another reason than speech."""
        self._floor.clear()
        if self._answer is not None and self._answer.committed:
            self._answer.interrupt()

    def _answered(self, answer: Answer) -> None:
        """A committed answer has come to its end."""
        if answer is not self._answer:
            return
        self._asked = None
        claimed = self._floor.claimed
        self._last_answer, self._answer = answer, None
        self._floor.clear()
        self._active_at = self._loop.time()
        self._active_ms = milliseconds(self._ear.detector.now)
        if claimed is not None:  # what was said since then is the next utterance
            self._begin(claimed)
        else:
            self._parts.forget()
            self._listen()

    def _listen(self) -> None:
        self._state = State.LISTENING
        if not self.manner.keeps_all:
            self._ear.keep_preroll()
        if self._announcements:  # not here and now: who made the session listen is not done yet
            self._loop.call_soon(self._speak_up)
        if self._finishing is not None:
            self._loop.call_soon(self._finish)

    def _finish(self) -> None:
        if self._finishing is None or self._state is not State.LISTENING:
            return
        if pending := self._dictation.pending:
            self._tasks.start(self._finish_after(pending))
        else:
            self._end(self._finishing)

    async def _finish_after(self, writing: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.wait(writing)
        self._finish()

    def _cut(self) -> None:
        """The utterance has become too long: its first part is transcribed now, the user goes on."""
        if len(self._parts) >= MAX_PARTS:
            self._endpoint()
            return
        self._parts.add(self._ear.cut())
        self._partials.go_on(self._ear.detector.now)

    # --- what runs beside ---

    async def _transcribe(self, clip: Clip) -> Transcript:
        with tracing.untraced():  # partial transcripts and judgements are part of no turn
            return await stt.in_time(
                self._stages.stt,
                clip,
                language=self.language,
                prompt=self.manner.hint,
                limit_s=self._settings.stt_timeout_s,
            )

    async def _watch(self) -> None:
        """What happens when nothing happens: a stalled utterance, an idle user."""
        while True:
            await asyncio.sleep(STALLED_S / 4)
            now = self._loop.time()
            if self._state in (State.HEARING, State.PAUSED):
                if self.options.turn_detection and now - self._heard_at >= STALLED_S:
                    self._endpoint()
                elif self.options.idle_timeout_s and now - self._active_at >= self.options.idle_timeout_s:
                    self._end(IdleTimeout())  # a key was pressed, and nobody has spoken since
                    return
            elif self._floor.holding:
                if now - self._heard_at >= STALLED_S:
                    self._floor.refuse()  # no sound, no interruption: without more of it nothing would ever be decided
            elif self._state is State.LISTENING:
                idle_s = now - self._active_at
                if self.options.idle_timeout_s and idle_s >= self.options.idle_timeout_s:
                    self._end(IdleTimeout())
                    return
                if self.options.idle_prompt_s and idle_s >= self.options.idle_prompt_s and not self._prompted:
                    self._prompted = True
                    self._emit(events.UserIdle(self._active_ms, milliseconds(self._ear.detector.now)))
                    sentence, language = phrase(STILL_THERE, self.language or self.conversation.language)
                    self._reply_to(Announcement(sentence, language)).commit()
                    self._state = State.ANSWERING

    def _emit(self, event: Event) -> None:
        if not self._sink.offer(event):
            self._end(Overloaded("This connection reads too slowly; the conversation is closed."))

    def _end(self, reason: ParleyError) -> None:
        self._sink.close(reason)
        self.ended.set()


class IdleTimeout(ParleyError):
    """Nobody spoke for IDLE_TIMEOUT_S."""

    code = "idle_timeout"

    def __init__(self) -> None:
        super().__init__("Nobody spoke for a long time; the conversation is closed.")
