"""A live conversation: audio in, events out, for any transport.

`docs/turn-taking.md` describes its states and rules. This file has the input: sound, the client's commands and clocks.
`turn_taking` and `claims` decide, and `effects` does what they decide. All methods are called from one event loop and
never block; anything that takes time (a turn, a judgement, a partial transcript) is a task of the session and ends with
it.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self

from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import claims, events, turn_taking
from pipeline.conversation.effects import Effects
from pipeline.conversation.events import Event
from pipeline.conversation.history import Item
from pipeline.conversation.reply_options import ReplyOptions, ReplyToHistory
from pipeline.conversation.states import Answering, Hearing, Listening, Paused, Step
from pipeline.conversation.turn import Announcement, Turn
from pipeline.conversation.watchdog import LOOK_S, Finding, IdleTimeout
from pipeline.errors import BadInput, ParleyError
from pipeline.listening.ear import milliseconds
from pipeline.listening.options import LiveOptions
from pipeline.listening.wake_word import WakeGate
from pipeline.llm import Message
from pipeline.stt import Transcript
from pipeline.support.phrases import STILL_THERE, phrase
from pipeline.voices.catalogue import Voice


class Session(Effects):
    """One live conversation. Enter it with `async with`, pass audio to `hear()`, iterate `events`."""

    async def __aenter__(self) -> Self:
        self._tasks.start(self._watch())
        self._tasks.start(self._prepare_lock())
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
        return self.ear.received

    @property
    def dropped(self) -> int:
        """Number of received samples that were deliberately ignored (half duplex)."""
        return self.ear.dropped

    # --- transitions ---

    def _do(self, step: Step) -> None:
        """Make a transition: set the next state, then run the effects. They can report further events."""
        self.state, effects = step
        for effect in effects:
            effect()

    def end_turn(self) -> None:
        if isinstance(self.state, Hearing | Paused):
            self._do(turn_taking.endpoint(self.state, self))

    # --- input ---

    def hear(self, samples: Samples) -> None:
        """Process the user's next audio: float32 mono at 16 kHz, any number of samples."""
        self._watchdog.heard()
        for frame in self.ear.frames(samples):
            self._take(frame)
        self.ear.arrived(self._loop.time())
        if isinstance(self.state, Paused) and self.options.turn_detection:
            self._do(turn_taking.silence(self.state, self, self.ear.silence_ms))

    def _take(self, frame: Samples) -> None:
        answer = turn_taking.current(self.state)
        if self.options.half_duplex and answer is not None and answer.playback.audible:
            self.ear.skip(frame)
            if self._gate is not None and not self._gate.asleep:
                self._gate.stay(self.ear.detector.now)
            return
        if self._gate is not None and self._ignores(frame, self._gate):
            self.ear.skip(frame)
            return
        self.ear.take(frame)
        if self.ear.detector.speaking:
            self._watchdog.spoke(milliseconds(self.ear.detector.now))
        if not self.options.turn_detection:
            self._do(turn_taking.frame_by_key(self.state, self, keep_s=self._settings.max_audio_seconds))
        elif isinstance(self.state, Answering):
            self._do(claims.frame(self.state, self))
        else:
            self._do(turn_taking.frame(self.state, self))

    def _ignores(self, frame: Samples, gate: WakeGate) -> bool:
        """Whether the session is asleep, and stays so with this frame."""
        end = self.ear.detector.now + len(frame)
        if gate.asleep:
            self._watchdog.active()  # an open microphone may wait for days
            if gate.wakes(frame, end):
                self._out.emit(events.WakeWordHeard(gate.name, milliseconds(end)))
            return True
        if not isinstance(self.state, Listening) or self.ear.detector.speaking:
            gate.stay(end)
        if gate.falls_asleep(end):
            self._out.emit(events.FellAsleep(milliseconds(end)))
        return gate.asleep

    def begin(self) -> None:
        """Handle the press of the push-to-talk key. Stops a running reply; a current utterance continues."""
        self.interrupt()
        if self._gate is not None:
            self._gate.wake(self.ear.detector.now)
        self._do(turn_taking.press(self.state, self))

    def commit(self) -> None:
        """End the user turn now, whatever the silence. Raises BadInput (no_audio) when nothing was recorded."""
        if not isinstance(self.state, Hearing | Paused):
            raise BadInput("There is no sound to commit.", code="no_audio")
        self._do(turn_taking.endpoint(self.state, self, answers_silence=True))

    def clear(self) -> None:
        """Drop recorded audio that was not committed."""
        if isinstance(self.state, Hearing | Paused):
            self._do(turn_taking.clear(self.state, self))
        elif isinstance(self.state, Answering) and self.state.hears:
            self._do(claims.forget(self.state, self))
        elif self.reply_options.keeps_all:
            self.ear.forget_rest()
            self.ear.leave_behind()

    def note(self) -> None:
        """Turn the recorded audio into a user message without an automatic reply; a running reply continues.

        Raises BadInput (no_audio) when nothing was recorded.
        """
        if isinstance(self.state, Answering) and self.state.hears:
            self._do(claims.note(self.state, self.state.hears, self))
            return
        if self.reply_options.keeps_all:
            for frame in self.ear.rest():
                self._take(frame)
        if not self.ear.kept_s or (self.answering and not self.reply_options.keeps_all):
            raise BadInput("There is no sound to commit.", code="no_audio")
        self._do(turn_taking.note(self.state, self))

    def dictate(self, clip: Clip, *, id: str | None = None, after: str | None = None) -> Item:
        """Add a whole utterance, independent of the audio stream: it is transcribed and gets no automatic reply.

        id, after: its place, see `Conversation.place`. Raises BadInput.
        """
        item = self.conversation.place(id=id, after=after)
        self.dictation.write(clip, item.id)
        return item

    def respond(self, reply_options: ReplyOptions | None = None, *, instead: Sequence[Message] | None = None) -> str:
        """Reply to the conversation as it is; a current utterance is noted first. Returns the id of the reply's item.

        reply_options: for this reply only. instead: messages to reply to in place of the conversation's. Raises
        BadInput (already_answering): only one reply at a time.
        """
        if self.answering:
            raise BadInput("A reply is already in progress.", code="already_answering")
        if self.hearing:
            self.note()
        self._watchdog.active()
        asked = ReplyToHistory(before=self.dictation.pending, messages=instead)
        reply = self._reply(asked, answers_silence=True, options=reply_options)
        self._do(turn_taking.answer(self.state, reply, self))
        return reply.answer.item_id

    def answer_in(self, reply_options: ReplyOptions) -> None:
        """Use these reply_options for the reply to the current user turn only."""
        self._do(turn_taking.answer_in(self.state, reply_options))

    def aside(self, reply_options: ReplyOptions, messages: Sequence[Message] | None) -> AsyncGenerator[Event, None]:
        """Run a turn outside of the conversation, in parallel to it; its audio is not paced.

        messages: what to reply to; None: the conversation as it is.
        """
        turn = Turn(self._stages, self._settings, voice=self.voice, language=self.language, reply_options=reply_options)
        return turn.run(ReplyToHistory(before=self.dictation.pending, messages=messages), self.conversation)

    def truncate(self, item: str, played_ms: float) -> None:
        """Cut a reply at `played_ms`: later text leaves the conversation.

        Raises BadInput: item_not_found, not_spoken, out_of_range.
        """
        if isinstance(self.state, Answering) and self.state.reply.answer.item_id == item:
            self.state.reply.answer.truncate(played_ms)
        else:
            self.conversation.truncate(item, played_ms)

    @property
    def answering(self) -> bool:
        """Whether a reply is in progress."""
        return isinstance(self.state, Answering)

    @property
    def heard(self) -> tuple[str, str] | None:
        """Id and heard part of the reply that is spoken now."""
        return self.state.reply.answer.heard if isinstance(self.state, Answering) else None

    @property
    def hearing(self) -> bool:
        """Whether the user is speaking, or has paused without a reply yet."""
        return isinstance(self.state, Hearing | Paused)

    def say(self, text: str) -> None:
        """Handle a typed message of the user; it interrupts a running reply."""
        self.ask(Transcript(text, self.language, 0.0))

    def ask(self, utterance: Clip | Transcript) -> None:
        """Reply to a whole utterance, independent of the audio stream; it interrupts a running reply."""
        self.interrupt()
        if isinstance(self.state, Hearing | Paused):
            self._do(turn_taking.forget(self.state, self))
        self._watchdog.active()
        self._do(turn_taking.answer(self.state, self._reply(utterance, answers_silence=True), self, typed=True))

    def retry(self, text: str | None = None) -> None:
        """Reply to the user's last words again; they and all that followed leave the conversation first. A running
        reply is interrupted, and functions are called again.

        text: other words in their place. Raises BadInput (nothing_to_retry), and interrupts nothing, without words of
        the user, or while the last ones are not transcribed yet.
        """
        reply = self.state.reply if isinstance(self.state, Answering) else None
        if reply is not None and reply.sound is not None and reply.answer.said is None:
            raise BadInput("The question is not transcribed yet.", code="nothing_to_retry")
        if reply is None or not reply.answer.asked:
            self.conversation.question()
        self.interrupt()
        question = self.conversation.retract()
        language = question.language if text is None else self.language
        self.ask(Transcript(text or question.content, language, 0.0))

    def begin_with(self, messages: Sequence[Message]) -> None:
        """Begin with the messages of an earlier conversation. Raises BadInput (conversation_begun) after the first
        turn has begun."""
        if not isinstance(self.state, Listening | Hearing):
            raise BadInput("The conversation has already begun.", code="conversation_begun")
        self.conversation.begin_with(messages)

    def configure(self, options: LiveOptions, *, voice: Voice, language: str | None) -> None:
        """Change options, voice and language from the next turn on, including the VAD's threshold and the pacing.

        Raises BadInput if the noise filter or the speaker lock cannot be used; then nothing is changed.
        """
        stages = self._stages
        if options.speaker_lock != self.options.speaker_lock:
            stages = self._locked(options.speaker_lock)
        self._reduce_noise(options)
        if stages is not self._stages:
            self._stages = stages
            self._tasks.start(self._prepare_lock())
        self.options, self.voice, self.language = options, voice, language
        self.ear.detector.threshold, self.ear.preroll_ms = options.vad_threshold, options.preroll_ms
        self._set_gate()
        self._do(turn_taking.configured(self.state, self))

    def interrupt(self) -> None:
        """Stop the running reply, if there is one."""
        self._do(turn_taking.interrupt(self.state, self))

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
        answer = self.state.reply.answer if isinstance(self.state, Answering) else self._last
        if answer is not None:
            answer.correct(ms)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            match self._watchdog.finds(self.state, self.options):
                case Finding.STALLED:
                    self._do(turn_taking.stalled(self.state, self))
                case Finding.SILENT:
                    self._ask_who_is_there()
                case Finding.LEFT:
                    self._out.end(IdleTimeout())
                    return
                case Finding.NOTHING:
                    pass

    def _ask_who_is_there(self) -> None:
        self._out.emit(events.UserIdle(self._watchdog.active_ms, milliseconds(self.ear.detector.now)))
        sentence, language = phrase(STILL_THERE, self.announcements.spoken_language)
        self._do(turn_taking.answer(self.state, self._reply(Announcement(sentence, language)), self))
