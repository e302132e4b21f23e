"""A live conversation: audio in, events out, for any transport.

`docs/turn-taking.md` describes its states and rules. All methods are called from one event loop and never block;
anything that takes time (a turn, a judgement, a partial transcript) is a task of the session and ends with it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from pipeline import stt
from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import events
from pipeline.conversation.announcements import Announcements
from pipeline.conversation.answer import Answer
from pipeline.conversation.answers import Answers
from pipeline.conversation.dictation import Dictation, Room, Unlimited
from pipeline.conversation.events import Event, TranscriptFinal
from pipeline.conversation.floor import Floor
from pipeline.conversation.history import Conversation, Item
from pipeline.conversation.kept_turns import Recorder
from pipeline.conversation.reply_options import ReplyOptions, ReplyToHistory
from pipeline.conversation.states import State
from pipeline.conversation.tasks import Tasks
from pipeline.conversation.turn import Announcement, Stages
from pipeline.conversation.user_turn import UserTurn
from pipeline.conversation.watchdog import LOOK_S, Finding, IdleTimeout, Watchdog
from pipeline.errors import BadInput, Overloaded, ParleyError
from pipeline.listening.detector import VoiceActivity
from pipeline.listening.ear import Ear, milliseconds
from pipeline.listening.endpointing import delay, shortest
from pipeline.listening.options import LiveOptions
from pipeline.llm import Message
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.support.channel import Channel
from pipeline.support.phrases import STILL_THERE, phrase
from pipeline.telemetry import tracing
from pipeline.voices.catalogue import Voice

ONSET_MS = 60
"""Speech that starts an utterance: two frames, longer than a click."""
EVENTS_AHEAD = 1024
"""Number of events that a slow reader can be behind (some 30 s of audio) before its session ends."""


class Sink(Protocol):
    """Receiver of a session's events, in order; `Channel` is one."""

    def offer(self, event: Event, /) -> bool:
        """Take the next event; False when there is no room. Must not block."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """End the events; error: the reason if the session has ended itself."""
        ...


class Outlet:
    """Output of one session. Emitting never waits: a reader that is too slow ends the session."""

    def __init__(self, sink: Sink | None) -> None:
        """sink: receives the events as they happen, instead of `events`."""
        self.events: Channel[Event] = Channel(EVENTS_AHEAD)
        self.ended = asyncio.Event()
        self._sink: Sink = sink or self.events

    def emit(self, event: Event) -> None:
        """Send an event."""
        if not self._sink.offer(event):
            self.end(Overloaded("This connection reads too slowly; the conversation is closed."))

    def end(self, reason: ParleyError) -> None:
        """End the session from inside: the reader gets the reason, and the owner of the session must close it."""
        self._sink.close(reason)
        self.ended.set()

    def close(self) -> None:
        """End the events after the session was closed."""
        self._sink.close()


class Session:
    """One live conversation. Enter it with `async with`, pass audio to `hear()`, iterate `events`."""

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
        reply_options: ReplyOptions | None = None,
        sink: Sink | None = None,
        recorder: Recorder | None = None,
        idle: Callable[[], bool] = lambda: False,
        room: Room | None = None,
    ) -> None:
        """activity: the VAD of this session. language: spoken language as ISO 639-1; None to detect it. sink: receives
        the events as they happen, instead of `events`. recorder: keeps the turns. idle: whether the recogniser has no
        calls. room: budget for audio that waits for its transcript; None: unlimited."""
        self._out = Outlet(sink)
        self.events: Channel[Event] = self._out.events
        """Events in order; closed with an Overloaded error when the reader is too slow."""
        self.ended = self._out.ended
        """Set when the session has ended itself: its owner must close it, even if the events are not read."""
        self.reply_options = reply_options or ReplyOptions()
        """How to reply; a change applies to later turns."""
        self.conversation = conversation
        self.voice, self.language, self.options = voice, language, options
        self._stages, self._settings, self._idle = stages, settings, idle
        self._loop = asyncio.get_running_loop()
        self._state = State.LISTENING
        self._finishing: ParleyError | None = None
        self._was_read = False
        """Whether the transcript of this pause was requested without preparing a reply."""
        self._tasks = Tasks(conversation.id)
        self._watchdog = Watchdog()
        self._ear = Ear(activity, threshold=options.vad_threshold, preroll_ms=options.preroll_ms)
        self._floor = Floor(
            self._ear,
            transcribe=self._transcribe,
            start=self._tasks.start,
            saying=lambda: self._answers.saying,
            held=lambda: self._out.emit(events.SpeechHeld()),
            resumed=lambda: self._out.emit(events.SpeechResumed()),
            taken=self._cut_in,
        )
        self._user = UserTurn(
            self._ear,
            transcribe=self._transcribe,
            tasks=self._tasks,
            show=lambda text: self._out.emit(events.TranscriptPartial(text)),
        )
        self._dictation = Dictation(
            conversation,
            transcribe=self._transcribe,
            start=self._tasks.start,
            emit=self._out.emit,
            limit_s=settings.stt_timeout_s,
            room=room or Unlimited(),
        )
        self.announcements = Announcements(
            conversation, self._tasks, language=lambda: self.language, speak_up=self._speak_up
        )
        """Speech that the assistant starts by itself."""
        self._answers = Answers(
            conversation,
            stages,
            settings,
            self,
            company=self.announcements,
            tasks=self._tasks,
            emit=self._out.emit,
            ended=self._answered,
            recorder=recorder,
        )

    async def __aenter__(self) -> Self:
        self._tasks.start(self._watch())
        self.announcements.resume()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all tasks of this session; the heard part of a running reply is kept."""
        self.announcements.clear()
        self.interrupt()
        self._out.close()
        await self._tasks.close()

    @property
    def received(self) -> int:
        """Number of samples received: the session's clock. It also counts samples that are ignored."""
        return self._ear.received

    @property
    def dropped(self) -> int:
        """Number of received samples that were deliberately ignored (half duplex)."""
        return self._ear.dropped

    # --- input ---

    def hear(self, samples: Samples) -> None:
        """Process the user's next audio: float32 mono at 16 kHz, any number of samples."""
        self._watchdog.heard()
        for frame in self._ear.frames(samples):
            self._step(frame)
        if self._state is State.PAUSED and self.options.turn_detection:
            self._wait_for_the_end(self._ear.silence_ms)

    def begin(self) -> None:
        """Handle the press of the push-to-talk key. Stops a running reply; a current utterance continues."""
        self.interrupt()
        self._abandon()
        if self.hearing:
            self._state = State.HEARING
        else:
            self._begin(self._ear.detector.now)

    def commit(self) -> None:
        """End the user turn now, whatever the silence. Raises BadInput (no_audio) when nothing was recorded."""
        if not self.hearing:
            raise BadInput("There is no sound to commit.", code="no_audio")
        self._endpoint(answers_silence=True)

    def clear(self) -> None:
        """Drop recorded audio that was not committed."""
        if self.hearing:
            self._forget()
            self._listen()
        elif self.reply_options.keeps_all:
            self._ear.forget_rest()
            self._ear.leave_behind()

    def note(self) -> None:
        """Turn the recorded audio into a user message without an automatic reply; a running reply continues.

        Raises BadInput (no_audio) when nothing was recorded.
        """
        if self.reply_options.keeps_all:
            for frame in self._ear.rest():
                self._step(frame)
        if not self._ear.kept_s or (self._state is State.ANSWERING and not self.reply_options.keeps_all):
            raise BadInput("There is no sound to commit.", code="no_audio")
        spoken = self.hearing
        self._abandon()
        clip, before = self._user.take()
        self._ear.leave_behind()
        item = self.conversation.place(id=self._user.item if spoken else None).id
        self._out.emit(events.UtteranceCommitted(item))
        self._dictation.write(clip, item, before)
        if spoken:
            self._listen()

    def dictate(self, clip: Clip, *, id: str | None = None, after: str | None = None) -> Item:
        """Add a whole utterance, independent of the audio stream: it is transcribed and gets no automatic reply.

        id, after: its place, see `Conversation.place`. Raises BadInput.
        """
        item = self.conversation.place(id=id, after=after)
        self._dictation.write(clip, item.id)
        return item

    def respond(self, reply_options: ReplyOptions | None = None, *, instead: Sequence[Message] | None = None) -> str:
        """Reply to the conversation as it is; a current utterance is noted first. Returns the id of the reply's item.

        reply_options: for this reply only. instead: messages to reply to in place of the conversation's. Raises
        BadInput (already_answering): only one reply at a time.
        """
        if self._state is State.ANSWERING:
            raise BadInput("A reply is already in progress.", code="already_answering")
        if self.hearing:
            self.note()
        self._watchdog.active()
        self._state = State.ANSWERING
        asked = ReplyToHistory(before=self._dictation.pending, messages=instead)
        answer = self._answers.begin(asked, answers_silence=True, reply_options=reply_options)
        answer.commit()
        return answer.item_id

    def answer_in(self, reply_options: ReplyOptions) -> None:
        """Use this reply_options for the reply to the current user turn only."""
        self._user.reply_options = reply_options

    def aside(self, reply_options: ReplyOptions, messages: Sequence[Message] | None) -> AsyncGenerator[Event, None]:
        """Run a turn outside of the conversation, in parallel to it; its audio is not paced.

        messages: what to reply to; None: the conversation as it is.
        """
        return self._answers.beside(ReplyToHistory(before=self._dictation.pending, messages=messages), reply_options)

    def truncate(self, item: str, played_ms: float) -> None:
        """Cut a reply at `played_ms`: later text leaves the conversation.

        Raises BadInput: item_not_found, not_spoken, out_of_range.
        """
        self._answers.truncate(item, played_ms)

    @property
    def answering(self) -> bool:
        """Whether a reply is in progress."""
        return self._state is State.ANSWERING

    @property
    def hearing(self) -> bool:
        """Whether the user is speaking, or has paused without a reply yet."""
        return self._state in (State.HEARING, State.PAUSED)

    def say(self, text: str) -> None:
        """Handle a typed message of the user; it interrupts a running reply."""
        self.ask(Transcript(text, self.language, 0.0))

    def ask(self, utterance: Clip | Transcript) -> None:
        """Reply to a whole utterance, independent of the audio stream; it interrupts a running reply."""
        self.interrupt()
        if self.hearing:
            self._forget()
        self._watchdog.active()
        self._state = State.ANSWERING
        self._ear.keep_preroll()
        self._answers.begin(utterance, answers_silence=True).commit()

    def configure(self, options: LiveOptions, *, voice: Voice, language: str | None) -> None:
        """Change options, voice and language from the next turn on, including the VAD's threshold and the pacing."""
        self.options, self.voice, self.language = options, voice, language
        self._ear.detector.threshold, self._ear.preroll_ms = options.vad_threshold, options.preroll_ms
        decidable = options.turn_detection and (options.interruptible or not self._floor.holding)
        if self._floor.claimed is not None and not decidable:
            self._floor.refuse()  # with these options the claim would never be decided

    def interrupt(self) -> None:
        """Stop the running reply, if there is one."""
        self._floor.clear()
        self._answers.interrupt()

    def leave(self, reason: ParleyError) -> None:
        """Close the conversation: a running reply is interrupted, and the reader of `events` gets the reason."""
        self.interrupt()
        self._out.end(reason)

    def finish(self, reason: ParleyError) -> None:
        """Close the conversation as soon as the floor is free and no reply or transcript is pending; the reader of
        `events` gets the reason."""
        self._finishing = reason
        self._finish()

    def played(self, ms: float) -> None:
        """Set how much the client has played of the current (or last) reply; overrides the clock."""
        self._answers.played(ms)

    # --- the states ---

    def _step(self, frame: Samples) -> None:
        if self.options.half_duplex and self._answers.audible:
            self._ear.skip(frame)
            return
        self._ear.take(frame)
        if self._ear.detector.speaking:
            self._watchdog.spoke(milliseconds(self._ear.detector.now))
        if not self.options.turn_detection:
            if self.reply_options.keeps_all:
                self._ear.keep_newest(self._settings.max_audio_seconds)
            elif self._state in (State.LISTENING, State.ANSWERING):
                self._ear.keep_preroll(self._ear.detector.now)
            else:
                self._grow()
            return
        match self._state:
            case State.LISTENING if self._ear.detector.run_ms >= ONSET_MS:
                self._begin(self._floor.begins(self._ear.detector.began, self.options))
            case State.LISTENING:
                self._floor.keep(self.options)
            case State.HEARING:
                self._follow()
            case State.PAUSED:
                self._wait_for_the_end(self._ear.detector.silence_ms)
            case State.ANSWERING if self._answers.current is not None:
                self._floor.follow(self._answers.current.playback, self.options, self.language)

    def _begin(self, at: int) -> None:
        """Start an utterance at this sample."""
        self._state = State.HEARING
        self._floor.forget_refused()
        self._user.begin(at)
        self._out.emit(events.UserSpeechStarted(milliseconds(at), self._user.item))

    def _follow(self) -> None:
        """Follow the user's speech; start speculating at a pause."""
        detector = self._ear.detector
        silent = not detector.speaking and detector.silence_ms >= self.options.speculate_ms
        if silent and self._user.spoken:
            self._state = State.PAUSED
            self._user.pause()
            self._speculate()
        else:
            self._grow()

    def _grow(self) -> None:
        """Extend the utterance, or end it at its limit."""
        if self._ear.kept_s < self.options.max_utterance_s:
            self._user.understand(self.options.partial_ms)
        elif self.options.turn_detection and not self._user.spoken:
            self._forget()  # the key was pressed, but the user did not speak
            self._listen()
        elif self._user.cuts_left:
            self._user.cut()
        else:
            self._endpoint()

    def _wait_for_the_end(self, silence_ms: float) -> None:
        """Decide in a pause whether the user has finished."""
        if self._ear.detector.run_ms >= ONSET_MS:
            self._abandon()
            self._state = State.HEARING
            return
        said, coming = self._words()
        if said is None and not coming:
            coming = self._read(silence_ms)
        wait_ms = delay(said.text if said else None, said.language if said else None, self.options, coming=coming)
        if silence_ms >= wait_ms and not self._ear.detector.speaking:
            self._endpoint()

    def _words(self) -> tuple[TranscriptFinal | Transcript | None, bool]:
        """Return the transcript up to this pause, if there is one, and whether it is in progress."""
        if not self.reply_options.answers:
            return self._dictation.heard, self._dictation.reading
        answer = self._answers.current
        if answer is None or answer.failed:
            return None, False
        return answer.said, answer.said is None

    def _read(self, silence_ms: float) -> bool:
        """Transcribe without preparing a reply, once the pause is as long as the shortest that ends a turn: endpointing
        needs the words. Returns whether a transcript was started."""
        if self._was_read or not self.options.adaptive_endpointing or silence_ms < shortest(self.options):
            return False
        if self.reply_options.answers and self._answers.current is not None:
            return False  # it has failed, and is retried at the endpoint
        self._was_read = True
        if self.reply_options.answers:
            self._answers.begin(self._ear.clip(), of=self._user, reply_options=self._user.reply_options, ahead=False)
        else:
            self._dictation.read(self._ear.clip())
        return True

    def _speculate(self) -> None:
        self._was_read = False
        if (
            self.reply_options.answers
            and self._user.speculations < self.options.speculations
            and (self._ear.kept_s <= self.options.speculation_max_speech_s or self._idle())
        ):
            self._user.speculations += 1
            self._answers.begin(self._ear.clip(), of=self._user, reply_options=self._user.reply_options)

    def _endpoint(self, *, answers_silence: bool = False) -> None:
        item = self.conversation.place(id=self._user.item).id
        self._out.emit(events.UserSpeechStopped(milliseconds(self._user.spoke_until), item))
        if not self.reply_options.answers:
            self._answers.abandon()
            clip, before = self._user.take()
            self._dictation.write(clip, item, before, read=self._state is State.PAUSED)
            self._ear.leave_utterance_behind()
            self._listen()
            return
        answer, reply_options = self._answers.current, self._user.reply_options or self.reply_options
        if (
            answer is None
            or answer.failed  # a failed speculative reply may succeed now
            or self._answers.reply_options != reply_options  # the reply_options was changed since then
            or (answers_silence and not answer.understood)  # an explicit commit gets a reply even to silence
        ):
            self._abandon()
            answer = self._answers.begin(
                self._ear.clip(), of=self._user, answers_silence=answers_silence, reply_options=reply_options
            )
        self._user.pause()
        self._state = State.ANSWERING
        self._ear.leave_utterance_behind()
        self._ear.keep_preroll()
        answer.commit()

    def _cut_in(self) -> None:
        """Handle a barge-in. If the turn's words are not known yet, the user simply continues the same turn."""
        answer, sound = self._answers.current, self._answers.sound
        assert answer is not None  # noqa: S101  # it is being interrupted
        if answer.said is None and sound is not None:
            reply_options = self._user.reply_options
            self._user.carry_over(sound)
            with contextlib.suppress(BadInput):  # the client may have deleted it
                self.conversation.delete(self._user.item)
            answer.withdraw("continued")
            self._user.reply_options = reply_options
        else:
            answer.interrupt()

    # --- answers ---

    def _speak_up(self) -> None:
        """Speak the next announcement if the floor is free."""
        if self._state is State.LISTENING and (announcement := self.announcements.next()):
            self._state = State.ANSWERING
            self._answers.begin(announcement).commit()

    def _abandon(self) -> None:
        """Abandon the speculative reply; its transcript is kept as a partial."""
        if said := self._answers.abandon() or self._dictation.go_on():
            self._user.guess(said.text)

    def _forget(self) -> None:
        """Drop the current utterance: it gets no reply, and its audio is not part of the next one."""
        self._user.pause()
        self._abandon()
        self._user.forget_parts()
        self._ear.leave_behind()
        self._out.emit(events.UtteranceIgnored("cleared"))

    def _answered(self, answer: Answer) -> None:
        """Handle the end of a committed answer."""
        if not self._answers.is_over(answer):
            return
        claimed = self._floor.claimed
        self._floor.clear()
        self._watchdog.active(milliseconds(self._ear.detector.now))
        if claimed is not None:  # the user's speech during the reply is the next utterance
            self._begin(claimed)
        else:
            self._user.forget_parts()
            self._listen()

    def _listen(self) -> None:
        self._state = State.LISTENING
        if not self.reply_options.keeps_all:
            self._floor.keep(self.options)
        # Deferred, because the caller has not finished its own work yet.
        self._loop.call_soon(self._speak_up)
        self._loop.call_soon(self._finish)

    def _finish(self) -> None:
        if self._finishing is None or self._state is not State.LISTENING:
            return
        if self._dictation.pending:
            self._tasks.start(self._finish_when_written())
        else:
            self._out.end(self._finishing)

    async def _finish_when_written(self) -> None:
        await self._dictation.written()
        self._finish()

    # --- background tasks ---

    async def _transcribe(self, clip: Clip) -> Transcript:
        with tracing.untraced():  # partial transcripts and judgements do not belong to a turn
            return await stt.in_time(
                self._stages.stt,
                clip,
                language=self.language,
                prompt=self.reply_options.hint,
                words=self.reply_options.words,
                limit_s=self._settings.stt_timeout_s,
            )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            match self._watchdog.finds(self._state, self.options, holding=self._floor.holding):
                case Finding.STALLED if self._floor.holding:
                    self._floor.refuse()  # without more audio the claim would never be decided
                case Finding.STALLED:
                    self._endpoint()
                case Finding.SILENT:
                    self._ask_who_is_there()
                case Finding.LEFT:
                    self._out.end(IdleTimeout())
                    return
                case Finding.NOTHING:
                    pass

    def _ask_who_is_there(self) -> None:
        self._out.emit(events.UserIdle(self._watchdog.active_ms, milliseconds(self._ear.detector.now)))
        sentence, language = phrase(STILL_THERE, self.announcements.spoken_language)
        self._answers.begin(Announcement(sentence, language)).commit()
        self._state = State.ANSWERING
