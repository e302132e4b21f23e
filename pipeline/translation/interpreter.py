"""One translation session: listening, translating and speaking at the same time, joined by bounded queues.

When a queue is full, the stage before it waits, and at last `hear`: the client can send no faster than the slowest
stage works.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from pipeline import tts
from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError, ParleyError, StageFailed
from pipeline.listening.detector import VoiceActivity
from pipeline.settings import Settings
from pipeline.speech.clauses import ClauseSplitter
from pipeline.speech.synthesize import clips_of, said
from pipeline.stt import SpeechToText
from pipeline.support.channel import Channel
from pipeline.telemetry import metrics
from pipeline.transcripts.subtitles import separator
from pipeline.translation.backlog import Backlog
from pipeline.translation.clauses import SourceClause
from pipeline.translation.events import (
    Failed,
    SpeechDelta,
    SpeechPaused,
    TranslationDelta,
    TranslationEvent,
)
from pipeline.translation.listener import Listener
from pipeline.translation.translator import Reply, Translator
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers.caller import calling

log = logging.getLogger(__name__)

SOUND_AHEAD = 128
"""Limit of pieces of sound that wait for the recogniser, each of 200 ms at most: 1.6 MB."""
TEXTS_AHEAD = 4
"""Limit of translated clauses that wait for the voice."""
LATE_S = 10.0
"""Longest wait for the voice, in seconds: a clause that is not spoken by then has text only. A voice that is slower
than the speaker would fall further and further behind, and hold back the text."""


@dataclass(frozen=True, slots=True)
class Sayable:
    """A translated clause for the voice."""

    text: str
    language: str
    until_ms: float
    late_at: float
    """Time of the event loop after which it is not spoken."""


class Interpreter:
    """Translates one speaker. `run` works until `finish` was called and everything is translated; cancelling it stops
    all its calls."""

    def __init__(
        self,
        *,
        stt: SpeechToText,
        reply: Reply,
        tts: TextToSpeech,
        settings: Settings,
        activity: VoiceActivity,
        voice: Voice,
        language: str,
        emit: Callable[[TranslationEvent], Awaitable[None]],
    ) -> None:
        """reply: the language model. activity: the VAD of this session. language: the target language, ISO 639-1. emit:
        receives the events in order; waiting in it is what holds the stages back."""
        self.language = language
        """The target language; a change applies to the clauses that are not being translated yet."""
        self._tts, self._voice, self._emit = tts, voice, emit
        self._sound: Channel[Samples] = Channel(SOUND_AHEAD)
        self._backlog = Backlog()
        self._sayable: Channel[Sayable] = Channel(TEXTS_AHEAD)
        self._translator = Translator(reply)
        self._last = ""
        """The end of the translation so far."""
        self._late = False
        """Whether the last clause was too late to be spoken."""
        self._loop = asyncio.get_running_loop()
        self._listener = Listener(
            stt,
            activity=activity,
            language=settings.speech_language or None,
            emit=emit,
            release=self._backlog.put,
        )

    @property
    def silence_s(self) -> float:
        """Seconds of sound since the last speech."""
        return self._listener.silence_s

    async def hear(self, samples: Samples) -> None:
        """Add sound: float32 mono at 16 kHz, at most 200 ms. Waits while too much sound waits."""
        await self._sound.send(samples)

    def finish(self) -> None:
        """End the sound; `run` translates the rest."""
        self._sound.close()

    async def run(self) -> None:
        """Translate. Errors of the stages become events."""
        with calling(session=secrets.token_hex(8)):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._translate())
                tasks.create_task(self._speak())

    async def _listen(self) -> None:
        await self._listener.run(self._sound)
        await self._backlog.close()

    async def _translate(self) -> None:
        while (clause := await self._backlog.take()) is not None:
            try:
                await self._translate_one(clause, self.language)
            except ParleyError as error:
                log.warning("a clause was not translated: %s: %s", error.code, error.message)
                await self._emit(_failed(error, "llm_unavailable"))
        self._sayable.close()

    async def _translate_one(self, clause: SourceClause, language: str) -> None:
        splitter = ClauseSplitter(language=language)
        begun = False
        async with aclosing(self._translator.translate(clause, language)) as chunks:
            async for chunk in chunks:
                space = "" if begun else separator(self._last, chunk)
                begun, self._last = True, chunk[-1]
                await self._emit(TranslationDelta(space + chunk, clause.until_ms))
                for said in splitter.feed(chunk):
                    await self._hand_over(said.text, language, clause.until_ms)
        for said in splitter.finish():
            await self._hand_over(said.text, language, clause.until_ms)

    async def _hand_over(self, text: str, language: str, until_ms: float) -> None:
        """Pass a part of the translation to the voice, if it speaks the language and has room in time."""
        if not self._tts.speaks(language):
            return
        late_at = self._loop.time() + LATE_S
        try:
            async with asyncio.timeout_at(late_at):
                await self._sayable.send(Sayable(text, language, until_ms, late_at))
        except TimeoutError:
            await self._skip()

    async def _skip(self) -> None:
        """Leave out the sound of a part. Of several in a row only the first is reported."""
        if not self._late:
            self._late = True
            await self._emit(Failed("overloaded", "The voice cannot keep up: a part of the translation has text only."))

    async def _speak(self) -> None:
        async for one in self._sayable:
            if self._loop.time() > one.late_at:
                await self._skip()
                continue
            self._late = False
            try:
                with metrics.stage("tts") as stage:
                    async with aclosing(self._clips(one)) as clips:
                        async for clip in clips:
                            stage.first()
                            await self._emit(SpeechDelta(clip, one.until_ms))
            except ParleyError as error:
                log.warning("a translation was not spoken: %s: %s", error.code, error.message)
                await self._emit(_failed(error, "tts_failed"))
            await self._emit(SpeechPaused(one.until_ms))

    async def _clips(self, one: Sayable) -> AsyncGenerator[Clip, None]:
        speech = said(self._tts, one.text, voice=self._voice, language=one.language)
        async with aclosing(clips_of(speech)) as clips:
            while True:
                try:
                    async with asyncio.timeout(tts.TIMEOUT_S):
                        clip = await anext(clips, None)
                except TimeoutError:
                    raise StageFailed("Speech synthesis took too long.", code="timeout") from None
                if clip is None:
                    return
                yield clip


def _failed(error: ParleyError, code: str) -> Failed:
    """Return an engine's error with the code of its stage; a timeout stays one."""
    own = error.code if error.code == "timeout" or not isinstance(error, EngineError) else code
    return Failed(own, error.message)
