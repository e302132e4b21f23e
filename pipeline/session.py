"""A live conversation: sound in, events out, for any transport.

The states and rules are those of `docs/turn-taking.md`. All methods are called from one event loop and never block;
what takes time (a turn, a judgement, a partial transcript) is a task of this session and ends with it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Self

from pipeline import events, stt, tracing
from pipeline.announcing import Announcements
from pipeline.answering import Answer
from pipeline.answers import Answers
from pipeline.audio import Clip, Samples
from pipeline.channel import Channel
from pipeline.conversation import Conversation, Item
from pipeline.dictation import Dictation, Room, Unlimited
from pipeline.errors import BadInput, ParleyError
from pipeline.events import Event, TranscriptFinal
from pipeline.listening.detector import VoiceActivity
from pipeline.listening.ear import Ear, milliseconds
from pipeline.listening.endpointing import delay, shortest
from pipeline.listening.floor import Floor
from pipeline.listening.options import LiveOptions
from pipeline.listening.states import State
from pipeline.listening.user_turn import UserTurn
from pipeline.listening.watchdog import LOOK_S, Finding, IdleTimeout, Watchdog
from pipeline.llm import Message
from pipeline.manner import AsItStands, Manner
from pipeline.outlet import Outlet, Sink
from pipeline.phrases import STILL_THERE, phrase
from pipeline.recording import Recorder
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.tasks import Tasks
from pipeline.turn import Announcement, Stages
from pipeline.voices import Voice

ONSET_MS = 60
"""Speech that begins an utterance: two frames, more than a click."""


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
        room: Room | None = None,
    ) -> None:
        """activity: the VAD of this session. language: ISO 639-1 of what is spoken; None to detect it. sink: takes the
        events as they happen, instead of `events`. recorder: keeps its turns. idle: whether nobody has the recogniser
        at work. room: for sound that waits for its transcript; None: without a limit.
        """
        self._out = Outlet(sink)
        self.events: Channel[Event] = self._out.events
        """What happens, in order; closed with an Overloaded when the reader is too slow."""
        self.ended = self._out.ended
        """Set when the session has ended itself: whoever opened it has to close it now, even if nobody reads why."""
        self.manner = manner or Manner()
        """How turns are answered; may be changed at any time, for the turns from then on."""
        self.conversation = conversation
        self.voice, self.language, self.options = voice, language, options
        self._stages, self._settings, self._idle = stages, settings, idle
        self._loop = asyncio.get_running_loop()
        self._state = State.LISTENING
        self._finishing: ParleyError | None = None
        self._was_read = False
        """The words of this pause are asked for, without an answer to them."""
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
        """What it says without being asked."""
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
        """End everything that runs for this session; what was heard of a running reply is kept."""
        self.announcements.clear()
        self.interrupt()
        self._out.close()
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
        self._watchdog.heard()
        for frame in self._ear.frames(samples):
            self._step(frame)
        if self._state is State.PAUSED and self.options.turn_detection:
            self._wait_for_the_end(self._ear.silence_ms)

    def begin(self) -> None:
        """Push-to-talk: the key is pressed. Stops a running reply; an utterance that was going on goes on."""
        self.interrupt()
        self._abandon()
        if self.hearing:
            self._state = State.HEARING
        else:
            self._begin(self._ear.detector.now)

    def commit(self) -> None:
        """The user's turn is over now, whatever the silence. Raises BadInput (no_audio) when nothing was recorded."""
        if not self.hearing:
            raise BadInput("There is no sound to commit.", code="no_audio")
        self._endpoint(answers_silence=True)

    def clear(self) -> None:
        """Forget what was recorded and not committed."""
        if self.hearing:
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
        """A whole utterance at once, beside the stream of sound: written down, not answered by itself.

        id, after: its place, see `Conversation.place`. Raises BadInput.
        """
        item = self.conversation.place(id=id, after=after)
        self._dictation.write(clip, item.id)
        return item

    def respond(self, manner: Manner | None = None, *, instead: Sequence[Message] | None = None) -> str:
        """Answer the conversation as it stands; what is being said is noted first. Returns the reply's item.

        manner: for this answer only. instead: answered in place of the conversation's messages.
        Raises BadInput (already_answering): one answer at a time.
        """
        if self._state is State.ANSWERING:
            raise BadInput("An answer is being given already.", code="already_answering")
        if self.hearing:
            self.note()
        self._watchdog.active()
        self._state = State.ANSWERING
        asked = AsItStands(before=self._dictation.pending, messages=instead)
        answer = self._answers.begin(asked, answers_silence=True, manner=manner)
        answer.commit()
        return answer.item_id

    def answer_in(self, manner: Manner) -> None:
        """What the user is saying, and nothing after it, is answered in this manner."""
        self._user.manner = manner

    def aside(self, manner: Manner, messages: Sequence[Message] | None) -> AsyncGenerator[Event, None]:
        """An answer outside of the conversation, beside whatever goes on in it; its sound is not paced.

        messages: what is answered; None: the conversation as it stands.
        """
        return self._answers.beside(AsItStands(before=self._dictation.pending, messages=messages), manner)

    def truncate(self, item: str, played_ms: float) -> None:
        """The client has played only so much of a reply: text past it leaves the conversation.

        Raises BadInput: item_not_found, not_spoken, out_of_range.
        """
        self._answers.truncate(item, played_ms)

    @property
    def answering(self) -> bool:
        """Whether an answer is being given."""
        return self._state is State.ANSWERING

    @property
    def hearing(self) -> bool:
        """Whether the user is saying something that is not answered yet."""
        return self._state in (State.HEARING, State.PAUSED)

    def say(self, text: str) -> None:
        """A typed message of the user; it interrupts a running reply."""
        self.ask(Transcript(text, self.language, 0.0))

    def ask(self, utterance: Clip | Transcript) -> None:
        """A whole utterance at once, beside the stream of sound; it interrupts a running reply."""
        self.interrupt()
        if self.hearing:
            self._forget()
        self._watchdog.active()
        self._state = State.ANSWERING
        self._ear.keep_preroll()
        self._answers.begin(utterance, answers_silence=True).commit()

    def configure(self, options: LiveOptions, *, voice: Voice, language: str | None) -> None:
        """Change this conversation from the next turn on; the VAD's threshold and the pacing with it."""
        self.options, self.voice, self.language = options, voice, language
        self._ear.detector.threshold, self._ear.preroll_ms = options.vad_threshold, options.preroll_ms
        decidable = options.turn_detection and (options.interruptible or not self._floor.holding)
        if self._floor.claimed is not None and not decidable:
            self._floor.refuse()  # nobody would decide any more whether it is an interruption

    def interrupt(self) -> None:
        """Stop the running reply, if there is one."""
        self._floor.clear()
        self._answers.interrupt()

    def leave(self, reason: ParleyError) -> None:
        """The conversation does not go on here: a running reply is interrupted; the reader of `events` is told why."""
        self.interrupt()
        self._out.end(reason)

    def finish(self, reason: ParleyError) -> None:
        """The conversation ends as soon as nobody speaks in it and nothing is answered or written down any more; the
        reader of `events` is told why."""
        self._finishing = reason
        self._finish()

    def played(self, ms: float) -> None:
        """The client has played so many ms of the current (or last) reply: this overrides the clock."""
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
            if self.manner.keeps_all:
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
        """An utterance begins."""
        self._state = State.HEARING
        self._floor.forget_refused()
        self._user.begin(at)
        self._out.emit(events.UserSpeechStarted(milliseconds(at), self._user.item))

    def _follow(self) -> None:
        """The user speaks."""
        detector = self._ear.detector
        silent = not detector.speaking and detector.silence_ms >= self.options.speculate_ms
        if silent and self._user.spoken:
            self._state = State.PAUSED
            self._user.pause()
            self._speculate()
        else:
            self._grow()

    def _grow(self) -> None:
        """The utterance becomes longer."""
        if self._ear.kept_s < self.options.max_utterance_s:
            self._user.understand(self.options.partial_ms)
        elif self.options.turn_detection and not self._user.spoken:
            self._forget()  # a key was pressed, and nobody spoke
            self._listen()
        elif self._user.cuts_left:
            self._user.cut()
        else:
            self._endpoint()

    def _wait_for_the_end(self, silence_ms: float) -> None:
        """The user is silent, perhaps done."""
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
        """What the utterance says up to this pause, and whether that is being found out."""
        if not self.manner.answers:
            return self._dictation.heard, self._dictation.reading
        answer = self._answers.current
        if answer is None or answer.failed:
            return None, False
        return answer.said, answer.said is None

    def _read(self, silence_ms: float) -> bool:
        """Where no answer is prepared the words are found out all the same, once the pause is as long as the shortest
        that ends a turn. Returns whether that was begun."""
        if self._was_read or not self.options.adaptive_endpointing or silence_ms < shortest(self.options):
            return False
        if self.manner.answers and self._answers.current is not None:
            return False  # it has failed, and is tried again at the end
        self._was_read = True
        if self.manner.answers:
            self._answers.begin(self._ear.clip(), of=self._user, manner=self._user.manner, ahead=False)
        else:
            self._dictation.read(self._ear.clip())
        return True

    def _speculate(self) -> None:
        self._was_read = False
        if (
            self.manner.answers
            and self._user.speculations < self.options.speculations
            and (self._ear.kept_s <= self.options.speculation_max_speech_s or self._idle())
        ):
            self._user.speculations += 1
            self._answers.begin(self._ear.clip(), of=self._user, manner=self._user.manner)

    def _endpoint(self, *, answers_silence: bool = False) -> None:
        item = self.conversation.place(id=self._user.item).id
        self._out.emit(events.UserSpeechStopped(milliseconds(self._user.spoke_until), item))
        if not self.manner.answers:
            self._answers.abandon()
            clip, before = self._user.take()
            self._dictation.write(clip, item, before, read=self._state is State.PAUSED)
            self._ear.leave_utterance_behind()
            self._listen()
            return
        answer, manner = self._answers.current, self._user.manner or self.manner
        if (
            answer is None
            or answer.failed  # what failed in advance may succeed now
            or self._answers.manner != manner  # it is wanted otherwise since then
            or (answers_silence and not answer.understood)  # who says "now" wants an answer even to silence
        ):
            self._abandon()
            answer = self._answers.begin(
                self._ear.clip(), of=self._user, answers_silence=answers_silence, manner=manner
            )
        self._user.pause()
        self._state = State.ANSWERING
        self._ear.leave_utterance_behind()
        self._ear.keep_preroll()
        answer.commit()

    def _cut_in(self) -> None:
        """It is an interruption. Of a turn whose words are not even known it is none: the user simply goes on."""
        answer, sound = self._answers.current, self._answers.sound
        assert answer is not None  # noqa: S101  # it is what is interrupted
        if answer.said is None and sound is not None:
            manner = self._user.manner
            self._user.parts.carry_over(sound)
            with contextlib.suppress(BadInput):  # its client may have deleted it
                self.conversation.delete(self._user.item)
            answer.withdraw("continued")
            self._user.manner = manner
        else:
            answer.interrupt()

    # --- answers ---

    def _speak_up(self) -> None:
        """Announce what is to be announced, if nobody speaks."""
        if self._state is State.LISTENING and (announcement := self.announcements.next()):
            self._state = State.ANSWERING
            self._answers.begin(announcement).commit()

    def _abandon(self) -> None:
        """No speculative answer any more; its transcript stays as a partial."""
        if said := self._answers.abandon() or self._dictation.go_on():
            self._user.guess(said.text)

    def _forget(self) -> None:
        """The utterance being spoken will not be answered, and its sound is no part of the next one."""
        self._user.pause()
        self._abandon()
        self._user.parts.forget()
        self._ear.leave_behind()
        self._out.emit(events.UtteranceIgnored("cleared"))

    def _answered(self, answer: Answer) -> None:
        """A committed answer has come to its end."""
        if not self._answers.is_over(answer):
            return
        claimed = self._floor.claimed
        self._floor.clear()
        self._watchdog.active(milliseconds(self._ear.detector.now))
        if claimed is not None:  # what was said since then is the next utterance
            self._begin(claimed)
        else:
            self._user.parts.forget()
            self._listen()

    def _listen(self) -> None:
        self._state = State.LISTENING
        if not self.manner.keeps_all:
            self._floor.keep(self.options)
        # Not here and now: who made the session listen is not done yet.
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

    # --- what runs beside ---

    async def _transcribe(self, clip: Clip) -> Transcript:
        with tracing.untraced():  # partial transcripts and judgements are part of no turn
            return await stt.in_time(
                self._stages.stt,
                clip,
                language=self.language,
                prompt=self.manner.hint,
                words=self.manner.words,
                limit_s=self._settings.stt_timeout_s,
            )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            match self._watchdog.finds(self._state, self.options, holding=self._floor.holding):
                case Finding.STALLED if self._floor.holding:
                    self._floor.refuse()  # without more sound nothing would ever be decided
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
