"""The work of each Wyoming request: transcribe, speak, reply."""

from collections.abc import Callable, Coroutine
from contextlib import aclosing

from wyoming.asr import Transcribe, Transcript
from wyoming.event import Eventable
from wyoming.handle import Handled, NotHandled
from wyoming.tts import Synthesize, SynthesizeStopped

from pipeline import stt
from pipeline.assistant import Assistant
from pipeline.conversation import events
from pipeline.errors import BadInput
from pipeline.speech.clauses import clauses
from pipeline.speech.language import spoken_language
from pipeline.speech.synthesize import say
from pipeline.stt import Transcript as Heard
from pipeline.voices.catalogue import Voice
from server.openai.speech import MAX_CHARS
from server.parameters import language_code
from server.wyoming.audio import SoundIn, SoundOut
from server.wyoming.conversations import Conversations
from server.wyoming.streamed_texts import Texts
from server.wyoming.voices import chosen


class Responses:
    """Responses to one client. All raise ParleyError when an engine fails, and OSError after a disconnect."""

    def __init__(
        self,
        assistant: Assistant,
        conversations: Conversations,
        tell: Callable[[Eventable], Coroutine[object, object, None]],
    ) -> None:
        """tell: sends an event to the client."""
        self._assistant, self._conversations, self._tell = assistant, conversations, tell

    async def transcribe(self, asked: Transcribe, sound: SoundIn | None) -> None:
        """Send the transcript of the sound, and free the sound. Raises BadInput (empty_message)."""
        if sound is None:
            raise BadInput("There was no sound before audio-stop.", code="empty_message")
        settings = self._assistant.settings
        words = ", ".join([*(asked.transcript_names or ()), *(asked.transcript_terms or ())])[:1000]
        try:
            heard = await stt.in_time(
                self._assistant.stages.stt,
                sound.end(),
                language=language_code(asked.language) or settings.speech_language or None,
                prompt=words or None,
                limit_s=settings.stt_timeout_s,
            )
        finally:
            sound.release()
        await self._tell(Transcript(heard.text, language=heard.language))

    async def speak(self, asked: Synthesize) -> None:
        """Send the speech of a text. Raises BadInput (bad_parameter)."""
        if len(asked.text) > MAX_CHARS:
            raise BadInput(f"The text is longer than {MAX_CHARS} characters.", code="bad_parameter")
        voice, language = chosen(self._assistant, asked.voice)
        sound = SoundOut(self._tell)
        await self._send(asked.text, voice, language, sound)
        await sound.end()

    async def speak_as_it_comes(self, texts: Texts, voice: Voice, language: str | None) -> None:
        """Send the speech of a text that is still arriving, clause by clause."""
        sound = SoundOut(self._tell)
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
        await self._tell(SynthesizeStopped())

    async def reply(self, asked: Transcript) -> None:
        """Send the reply to a text. Raises BadInput (bad_parameter)."""
        context = asked.context or {}
        name = context.get("conversation_id")
        conversation = self._conversations.get(name[:200] if isinstance(name, str) else None)
        if not asked.text.strip() or len(asked.text) > MAX_CHARS:
            raise BadInput(f"The text must have 1 to {MAX_CHARS} characters.", code="bad_parameter")
        said = Heard(asked.text.strip(), language_code(asked.language), 0.0)
        outcome: Eventable = NotHandled("No reply.")
        turn = self._assistant.answer(said, conversation, voice=self._assistant.voice(), aloud=False)
        async with aclosing(turn) as happenings:
            async for event in happenings:
                match event:
                    case events.TurnCompleted(reply):
                        outcome = Handled(reply.strip(), context=context or None)
                    case events.TurnFailed(_, message):
                        outcome = NotHandled(message, context=context or None)
                    case _:
                        pass
        await self._tell(outcome)

    async def _send(self, text: str, voice: Voice, language: str | None, sound: SoundOut) -> None:
        """Speak a text; send nothing for a text without anything to speak, such as a row of dashes."""
        assistant = self._assistant
        said = say(assistant.stages.tts, text, voice=voice, language=language, usual=assistant.settings.speech_language)
        async with aclosing(said) as clips:
            async for clip in clips:
                await sound.send(clip)
