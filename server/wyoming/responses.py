"""The work of each Wyoming request: transcribe, speak, reply."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.event import Eventable
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop, NotHandled
from wyoming.tts import Synthesize, SynthesizeStopped

from pipeline import stt
from pipeline.assistant import Assistant
from pipeline.conversation import events
from pipeline.conversation.events import TranscriptPartial
from pipeline.conversation.partials import following
from pipeline.errors import BadInput
from pipeline.speech.clauses import clauses
from pipeline.speech.language import spoken_language
from pipeline.speech.synthesize import clips_of, said
from pipeline.stt import Hints
from pipeline.stt import Transcript as Heard
from pipeline.support.json_types import JsonObject
from pipeline.voices.catalogue import Voice
from server.access.limits import Share
from server.openai.speech import MAX_CHARS
from server.parameters import MAX_KEYWORD_CHARS, MAX_KEYWORDS, language_code
from server.wyoming.audio import SoundIn, SoundOut
from server.wyoming.command import Command, patience
from server.wyoming.conversations import Conversations
from server.wyoming.streamed_texts import Texts
from server.wyoming.voices import chosen


class TranscriptOut:
    """The transcript of one sound: `transcript-start`, its words as they become certain, the whole `transcript`, which
    older clients read alone, and `transcript-stop`."""

    def __init__(
        self, tell: Callable[[Eventable], Coroutine[object, object, None]], context: JsonObject | None
    ) -> None:
        """context: the client's context, which the response repeats: a client that passes the transcript on names its
        conversation in it."""
        self._tell, self._context = tell, context
        self._words: list[str] = []
        self._started = self.ended = False

    async def grow(self, text: str) -> None:
        """Send the words of a partial transcript that are new."""
        await self._send(text.split(), None)

    async def end(self, text: str, language: str | None) -> None:
        """Send the words that are still missing, and the whole transcript, which can correct the earlier words."""
        await self._send(text.split(), language)
        await self._tell(Transcript(text, context=self._context, language=language))
        await self._tell(TranscriptStop())
        self.ended = True

    async def _send(self, words: Sequence[str], language: str | None) -> None:
        if not self._started:
            self._started = True
            await self._tell(TranscriptStart(context=self._context, language=language))
        more = following(self._words, words)
        if more:
            await self._tell(TranscriptChunk(" " * bool(self._words) + " ".join(more)))
            self._words += more


class Responses:
    """Responses to one client. All raise ParleyError when an engine fails, and OSError after a disconnect."""

    def __init__(
        self,
        assistant: Assistant,
        conversations: Conversations,
        tell: Callable[[Eventable], Coroutine[object, object, None]],
        held: Share,
    ) -> None:
        """tell: sends an event to the client. held: counts the speech that waits for it."""
        self._assistant, self._conversations, self.tell, self._held = assistant, conversations, tell, held

    # --- recognition ---

    async def transcribe(self, asked: Transcribe, sound: SoundIn | None) -> None:
        """Send the transcript of the whole sound, and free the sound. Raises BadInput (empty_message)."""
        if sound is None:
            raise BadInput("There was no sound before audio-stop.", code="empty_message")
        try:
            heard = await self._transcript(asked, sound)
        finally:
            sound.release()
        await TranscriptOut(self.tell, asked.context).end(heard.text, heard.language)

    def command(self, asked: Transcribe) -> Command:
        """Return a command that listens as the client asks. Raises BadInput (unsupported_language)."""
        return Command(
            self._assistant,
            language=self.heard_language(asked),
            hint=_hints(asked),
            patience=patience(asked.vad_sensitivity),
            room=self._held,
        )

    async def follow(self, command: Command, asked: Transcribe, sound: SoundIn) -> None:
        """Send the transcript of a command while it is spoken, and free the sound. If the client ends the sound before
        the command has ended, all of the sound is transcribed."""
        out = TranscriptOut(self.tell, asked.context)
        try:
            async with command:
                async for update in command.updates:
                    if isinstance(update, TranscriptPartial):
                        await out.grow(update.text)
                    else:
                        await out.end(update.text, update.language)
            if out.ended:
                return
            heard = await self._transcript(asked, sound) if command.stopped else None
        finally:
            sound.release()
        await out.end(*((heard.text, heard.language) if heard is not None else ("", None)))

    async def _transcript(self, asked: Transcribe, sound: SoundIn) -> Heard:
        return await stt.in_time(
            self._assistant.stages.stt,
            sound.end(),
            language=self.heard_language(asked),
            prompt=_hints(asked),
        )

    def heard_language(self, asked: Transcribe) -> str | None:
        """Return the language to listen for; None: it is detected. Raises BadInput (unsupported_language)."""
        return (
            self._assistant.recognisers.heard_language(asked.language)
            or self._assistant.settings.speech_language
            or None
        )

    # --- speech ---

    async def speak(self, asked: Synthesize) -> None:
        """Send the speech of a text. Raises BadInput (bad_parameter)."""
        if len(asked.text) > MAX_CHARS:
            raise BadInput(f"The text is longer than {MAX_CHARS} characters.", code="bad_parameter")
        voice, language = chosen(self._assistant, asked.voice)
        sound = SoundOut(self.tell)
        await self._send(asked.text, voice, language, sound)
        await sound.end()

    async def speak_as_it_comes(self, texts: Texts, voice: Voice, language: str | None) -> None:
        """Send the speech of a text that is still arriving, clause by clause."""
        sound = SoundOut(self.tell)
        settings, tts = self._assistant.settings, self._assistant.stages.tts
        usual = spoken = voice.usual_language(settings.speech_language)
        fixed = bool(settings.speech_language)
        try:
            async with aclosing(clauses(texts.each(), language=language)) as ready:
                async for clause in ready:
                    spoken = language or await spoken_language(
                        clause.text, usual=usual, speaks=tts.speaks, before=spoken, fixed=fixed
                    )
                    await self._send(clause.text, voice, spoken, sound)
        finally:
            texts.close()  # speaking has ended: discard further text
        await sound.end()
        await self.tell(SynthesizeStopped())

    # --- replies ---

    async def reply(self, asked: Transcript) -> None:
        """Send the reply to a text while it is written. Raises BadInput (bad_parameter)."""
        context = asked.context or {}
        name = context.get("conversation_id")
        conversation = self._conversations.get(name[:200] if isinstance(name, str) else None)
        if not asked.text.strip() or len(asked.text) > MAX_CHARS:
            raise BadInput(f"The text must have 1 to {MAX_CHARS} characters.", code="bad_parameter")
        said = Heard(asked.text.strip(), language_code(asked.language), 0.0)
        started = False
        outcome: Eventable = NotHandled("No reply.")
        turn = self._assistant.answer(said, conversation, voice=self._assistant.voice(), aloud=False)
        async with aclosing(turn) as happenings:
            async for event in happenings:
                match event:
                    case events.ReplyDelta(text):
                        if not started:
                            await self.tell(HandledStart(context or None))
                        started = True
                        await self.tell(HandledChunk(text))
                    case events.TurnCompleted(reply):
                        outcome = Handled(reply.strip(), context=context or None)
                    case events.TurnFailed(_, message):
                        outcome = NotHandled(message, context=context or None)
                    case _:
                        pass
        await self.tell(outcome)
        await self.tell(HandledStop())

    async def _send(self, text: str, voice: Voice, language: str | None, sound: SoundOut) -> None:
        """Speak a text; send nothing for a text without anything to speak, such as a row of dashes."""
        assistant = self._assistant
        speech = said(
            assistant.stages.tts,
            text,
            voice=voice,
            language=language,
            usual=assistant.settings.speech_language,
            room=self._held,
        )
        async with aclosing(clips_of(speech)) as clips:
            async for clip in clips:
                await sound.send(clip)


def _hints(asked: Transcribe) -> Hints:
    """Return the client's names and terms."""
    names = (*(asked.transcript_names or ()), *(asked.transcript_terms or ()))
    return Hints(tuple(name[:MAX_KEYWORD_CHARS] for name in names[:MAX_KEYWORDS] if name.strip()))
