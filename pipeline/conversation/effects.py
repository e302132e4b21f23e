"""The parts of a live conversation, and the effects that its transitions (`turn_taking`) have on them.

An effect that takes time (a turn, a judgement, the transcript of a part) is a task, which reports its result with
another transition.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.conversation import claims, events, turn_taking
from pipeline.conversation.announcements import Announcements
from pipeline.conversation.answer import Answer
from pipeline.conversation.dictation import Dictation
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.kept_turns import Recorder
from pipeline.conversation.outlet import Outlet, Sink
from pipeline.conversation.partials import PartialTranscripts
from pipeline.conversation.pause_sound import PauseSound
from pipeline.conversation.playback import Playback
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.speaker_lock import Owner, SpeakerLock
from pipeline.conversation.states import Claim, Listening, Refused, Reply, State, Step, UserTurn
from pipeline.conversation.tasks import Tasks
from pipeline.conversation.turn import TURN_TIMEOUT_S, Announcement, Stages, Turn, Utterance
from pipeline.conversation.watchdog import Watchdog
from pipeline.errors import BadInput, EngineUnavailable, ParleyError
from pipeline.listening.detector import VoiceActivity
from pipeline.listening.ear import Ear, milliseconds
from pipeline.listening.false_alarms import Wariness
from pipeline.listening.interruption import is_echo
from pipeline.listening.options import LiveOptions
from pipeline.listening.smart_turn import TurnEnd
from pipeline.listening.wake_word import MicroWakeWord, WakeGate, WakeWordDetector
from pipeline.settings import Settings
from pipeline.stt import Transcript
from pipeline.support.channel import Channel
from pipeline.support.room import Room, Unlimited
from pipeline.telemetry import metrics, tracing
from pipeline.voices.catalogue import Voice
from pipeline.workers.caller import Urgency, calling

JUDGEMENT_S = 1.0
"""Timeout for a judgement in seconds; when it is exceeded, the user gets the floor and the reply is interrupted."""


class Effects(ABC):
    """The context of the transitions (`states.Context`). `Session` adds the input: sound, commands and clocks."""

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
        fades: bool = True,
        recorder: Recorder | None = None,
        idle: Callable[[], bool] = lambda: False,
        room: Room | None = None,
        wake_word: Callable[[str], WakeWordDetector] = MicroWakeWord,
        turn_end: TurnEnd | None = None,
        lock: Callable[[str, Owner], SpeakerLock] | None = None,
    ) -> None:
        """activity: the VAD of this session. language: spoken language as ISO 639-1; None to detect it. sink: receives
        the events as they happen, instead of `events`. fades: see `Playback`. recorder: keeps the turns. idle: whether
        the recogniser has no calls. room: budget for audio that waits for its transcript; None: unlimited. wake_word:
        creates the detector of a wake word. turn_end: hears whether the user has finished; None: only the words tell.
        lock: makes the recogniser that hears only one voice. Raises BadInput if the options need a lock or a noise
        filter and there is none."""
        self._out = Outlet(sink)
        self.events: Channel[Event] = self._out.events
        """Events in order; closed with an Overloaded error when the reader is too slow."""
        self.ended = self._out.ended
        """Set when the session has ended itself: its owner must close it, even if the events are not read."""
        self.reply_options = reply_options or ReplyOptions()
        """How to reply; a change applies to later turns."""
        self.conversation = conversation
        conversation.owner.change_microphone()
        self.voice, self.language, self.options = voice, language, options
        self.ear = Ear(activity, threshold=options.vad_threshold, preroll_ms=options.preroll_ms)
        self._wake_word = wake_word
        self._gate: WakeGate | None = None
        self._reduce_noise(options)
        self.wariness = Wariness()
        self.idle = idle
        self.state: State = Listening()
        """The state of the conversation; changed by `_do` only."""
        self._set_gate()
        self.partials = PartialTranscripts(
            self._transcribe, lambda text: self._out.emit(events.TranscriptPartial(text))
        )
        self._hearing_all, self._lock = stages, lock
        self._stages = self._locked(options.speaker_lock)
        """Stages of the turns: with the recogniser of the speaker lock, if it is on."""
        self._settings, self._recorder, self._fades = settings, recorder, fades
        self._loop = asyncio.get_running_loop()
        self._finishing: ParleyError | None = None
        self._last: Answer | None = None
        """The last answer that has ended; the client can still report what it has played of it."""
        self._judgement: asyncio.Task[None] | None = None
        self._owner_until = 0
        """Sample up to which the owner of the speaker lock was recognised in speech during a reply."""
        self._tasks = Tasks(conversation.id)
        self.pause_sound = PauseSound(turn_end, self._tasks.start)
        self._watchdog = Watchdog()
        self.dictation = Dictation(
            conversation,
            transcribe=self._transcribe,
            start=self._tasks.start,
            emit=self._out.emit,
            room=room or Unlimited(),
        )
        self.announcements = Announcements(
            conversation, self._tasks, language=lambda: self.language, speak_up=self._speak_up
        )
        """Speech that the assistant starts by itself."""

    @abstractmethod
    def _do(self, step: Step) -> None:
        """Make a transition."""

    @abstractmethod
    def end_turn(self) -> None:
        """End the user turn."""

    def _set_gate(self) -> None:
        """Follow the options: with push-to-talk the key is the wake word."""
        name = self.options.wake_word if self.options.turn_detection else ""
        if name != (self._gate.name if self._gate is not None else ""):
            self._gate = WakeGate(name, self._wake_word(name)) if name else None
            if self._gate is not None and not isinstance(self.state, Listening):  # falls asleep after this turn
                self._gate.wake(self.ear.detector.now)

    # --- the utterance ---

    def emit(self, event: Event) -> None:
        self._out.emit(event)

    def begin_utterance(self, turn: UserTurn) -> None:
        self.partials.begin(turn.began)
        self.ear.begin(turn.began)
        self._out.emit(events.UserSpeechStarted(milliseconds(turn.began), turn.item))

    def make_partial(self) -> None:
        now = self.ear.detector.now
        if self.partials.due(now, self.options.partial_ms):
            with calling(session=self.conversation.id, urgency=Urgency.LATER):
                self._tasks.keep(self.partials.make(self.ear.clip(), now))

    def cut_part(self, turn: UserTurn) -> None:
        # One part at a time: however fast parts arrive, the recogniser stays free for others.
        before = turn.parts[-1:]
        part = self._tasks.start(self._transcribe_after(before, self.ear.cut()), Urgency.AHEAD)
        self.partials.go_on(self.ear.detector.now)
        self._do(turn_taking.part_cut(self.state, part))

    def prepare(
        self, turn: UserTurn, options: ReplyOptions, *, ahead: bool, answers_silence: bool, commit: bool
    ) -> None:
        clip = self.ear.clip()
        reply = self._reply(clip, of=turn, answers_silence=answers_silence, options=options, ahead=ahead)
        if commit:
            self._do(turn_taking.committed(turn, reply, self))
        else:
            self._do(turn_taking.prepared(self.state, reply))

    def stop_utterance(self, turn: UserTurn) -> None:
        item = self.conversation.place(id=turn.item).id
        self._out.emit(events.UserSpeechStopped(milliseconds(turn.spoke_until(self.ear.detector)), item))

    def write_down(self, turn: UserTurn, *, read: bool) -> None:
        self.dictation.write(self.ear.clip(), turn.item, turn.parts, read=read)

    def note_down(self, turn: UserTurn | None) -> None:
        clip = self.ear.clip()
        self.ear.leave_behind()
        item = self.conversation.place(id=turn.item if turn is not None else None).id
        self._out.emit(events.UtteranceCommitted(item))
        self.dictation.write(clip, item, turn.parts if turn is not None else ())

    def keep_preroll(self, refused: Refused | None) -> None:
        detector = self.ear.detector
        at = detector.began if detector.speaking else detector.now
        self.ear.keep_preroll(claims.starts(refused, at, self.options))

    def hold(self, playback: Playback) -> None:
        playback.hold()
        if playback.sent_ms:
            self._out.emit(events.SpeechHeld())

    def resume(self, playback: Playback) -> None:
        playback.resume()
        if playback.sent_ms:
            metrics.RESUMED.inc()
            self._out.emit(events.SpeechResumed())

    def judge(self, claim: Claim) -> None:
        self.ear.keep_preroll(claim.since)
        self._judgement = self._tasks.start(self._judge(claim, self.ear.detector.now, self.ear.clip()))

    def stop_judging(self) -> None:
        if self._judgement is not None:
            self._judgement.cancel()
            self._judgement = None

    def carry_over(self, turn: UserTurn, sound: Clip) -> None:
        self._do(claims.carried_over(self.state, self._tasks.start(self._transcribe(sound)), self))

    def withdraw(self, turn: UserTurn, answer: Answer) -> None:
        with contextlib.suppress(BadInput):  # the client may have deleted it
            self.conversation.delete(turn.item)
        answer.withdraw("continued")

    # --- the free floor ---

    def free_floor(self) -> None:
        # Deferred, because the caller has not finished its own work yet.
        self._loop.call_soon(self._speak_up)
        self._loop.call_soon(self._finish)

    def _speak_up(self) -> None:
        """Speak the next announcement if the floor is free."""
        if isinstance(self.state, Listening) and (announcement := self.announcements.next()):
            self._do(turn_taking.answer(self.state, self._reply(announcement), self))

    def _finish(self) -> None:
        if self._finishing is None or not isinstance(self.state, Listening):
            return
        if self.dictation.pending:
            self._tasks.start(self._finish_when_written())
        else:
            self._out.end(self._finishing)

    async def _finish_when_written(self) -> None:
        await self.dictation.written()
        self._finish()

    # --- replies ---

    def _reply(
        self,
        utterance: Utterance,
        *,
        of: UserTurn | None = None,
        answers_silence: bool = False,
        options: ReplyOptions | None = None,
        ahead: bool = True,
    ) -> Reply:
        """Prepare a reply; it plays once committed. of: the user turn that it replies to, if any. answers_silence:
        reply even if nothing was understood. options: for this reply only. ahead: False to prepare only the
        transcript."""
        committed = asyncio.Event()
        options = options or self.reply_options
        stages = self._stages
        if isinstance(stages.stt, SpeakerLock) and of is not None and of.began < self._owner_until:
            stages = replace(stages, stt=stages.stt.expecting())
        turn = Turn(
            stages,
            self._settings,
            voice=self.voice,
            language=self.language,
            answer_silence=answers_silence,
            said_before=of.parts if of is not None else (),
            reply_options=options,
            committed=committed,
            ahead=ahead,
            company=self.announcements,
        )
        silence = self.ear.received - of.spoke_until(self.ear.detector) if of is not None else 0
        sound = utterance if isinstance(utterance, Clip) else None
        emit = self._emit_of_reply
        answer = Answer(
            turn.run(utterance, self.conversation),
            self.conversation,
            emit=emit if self._recorder is None else self._recorder.of(self.conversation.id, sound, emit),
            ended=self._answered,
            spoke_until=self._loop.time() - milliseconds(silence) / 1000,
            lead_ms=self.options.lead_ms,
            fades=self._fades,
            limit_s=TURN_TIMEOUT_S,
            answers_silence=answers_silence or isinstance(utterance, Announcement),
            committed=committed,
            said_item=of.item if of is not None else None,
            typed=utterance if isinstance(utterance, Transcript) else None,
            aloud=options.aloud,
            is_echo=self._echo_of_last(of),
        )
        self._tasks.keep(answer.task)
        return Reply(answer, options, sound)

    def _emit_of_reply(self, event: Event) -> None:
        """Send an event of a reply. The microphone can pick up its sound."""
        answer = turn_taking.current(self.state)
        if isinstance(event, events.SpeechChunk) and answer is not None:
            left_ms = answer.playback.sent_ms - answer.playback.played_ms()
            self.ear.plays(event.clip, self._loop.time() + left_ms / 1000 - event.clip.seconds)
        self._out.emit(event)

    def _echo_of_last(self, turn: UserTurn | None) -> Callable[[str], bool]:
        """Return a function that tells whether the words of a turn are the echo of the last reply's end."""
        echo, last = self.ear.echo, self._last
        if turn is None or last is None or not echo.known or turn.spoke_until(self.ear.detector) > echo.until:
            return lambda text: False
        return lambda text: is_echo(text, last.saying)

    def _answered(self, answer: Answer) -> None:
        """Handle the end of an answer."""
        if answer is turn_taking.current(self.state):
            self._last = answer
            self._watchdog.active(milliseconds(self.ear.detector.now))
            self._do(turn_taking.ended(self.state, answer, self))

    # --- recognition ---

    async def _transcribe(self, clip: Clip, *, judging: bool = False) -> Transcript:
        """judging: whether it is sound during a reply, which can be its echo."""
        recogniser = self._stages.stt
        if judging and isinstance(recogniser, SpeakerLock):
            recogniser = recogniser.judging()
        with tracing.untraced():  # partial transcripts and judgements do not belong to a turn
            return await stt.in_time(
                recogniser,
                clip,
                language=self.language or self.reply_options.languages or None,
                prompt=self.reply_options.hint,
                words=self.reply_options.words,
            )

    async def _transcribe_after(self, before: Sequence[asyncio.Task[Transcript]], clip: Clip) -> Transcript:
        if before:
            await asyncio.wait(before)
        return await self._transcribe(clip)

    async def _judge(self, claim: Claim, until: int, clip: Clip) -> None:
        heard: Transcript | None = None
        with contextlib.suppress(ParleyError, TimeoutError):
            async with asyncio.timeout(JUDGEMENT_S):
                heard = await self._transcribe(clip, judging=True)
        self._judgement = None
        if heard is not None and heard.text:
            self._owner_until = until
        self._do(claims.judged(self.state, claim, until, heard, self))

    def _reduce_noise(self, options: LiveOptions) -> None:
        """Raises BadInput if there is no noise filter."""
        try:
            self.ear.reduce_noise(options.noise_reduction, words=options.noise_reduction_words)
        except EngineUnavailable as error:
            message = f"Noise cannot be reduced: {error.full_message}"
            raise BadInput(message, code="noise_reduction_unavailable", param="noise_reduction") from None

    def _locked(self, wanted: str) -> Stages:
        """Return the stages that hear only this voice; "": all. Raises BadInput."""
        if not wanted:
            return self._hearing_all
        if self._lock is None:
            raise BadInput("There is no speaker lock here.", code="speaker_lock_unavailable", param="speaker_lock")
        lock = self._lock(wanted, self.conversation.owner)
        lock.is_echo = self._repeats_reply
        return replace(self._hearing_all, stt=lock)

    def _repeats_reply(self, text: str) -> bool:
        """Whether a text is the end of the current or the last reply."""
        answer = turn_taking.current(self.state) or self._last
        return answer is not None and is_echo(text, answer.saying)

    async def _prepare_lock(self) -> None:
        """Load the speaker encoder before the first utterance needs it; that one reports the error, if there is one."""
        if isinstance(self._stages.stt, SpeakerLock):
            with contextlib.suppress(ParleyError):
                await self._stages.stt.prepare()
