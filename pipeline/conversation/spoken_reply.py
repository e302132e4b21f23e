"""The spoken side of a turn's reply: clauses in, events with their audio out."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext

from pipeline import tts
from pipeline.audio.clip import Clip
from pipeline.audio.speed import Tempo
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.timings import Timings
from pipeline.errors import EngineError, ParleyError, StageFailed
from pipeline.speech.clauses import Clause
from pipeline.speech.language import spoken_language
from pipeline.speech.normalise import for_voice
from pipeline.speech.unread import Unread
from pipeline.support.channel import Channel
from pipeline.telemetry import metrics
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers.caller import Urgency, less_urgent

log = logging.getLogger(__name__)


class SpokenReply:
    """The speech of one reply."""

    def __init__(
        self,
        tts: TextToSpeech,
        voice: Voice,
        options: ReplyOptions,
        *,
        fixed_language: bool,
        unread: Unread | None,
    ) -> None:
        """fixed_language: see `pipeline.speech.language.text_language`. unread: see `Turn`."""
        self._tts, self._voice, self._options = tts, voice, options
        self._fixed_language = fixed_language
        self._unread = unread

    async def speak(
        self, pending: Channel[Clause], language: str | None, timings: Timings, out: Channel[Event]
    ) -> None:
        """Synthesise the clauses. When the voice fails, the turn continues without it: the text still arrives."""
        started = False
        usual = spoken = self._voice.language(language)
        async for clause in pending:
            if not self._options.aloud:
                continue
            spoken = await spoken_language(
                clause.text, usual=usual, speaks=self._tts.speaks, before=spoken, fixed=self._fixed_language
            )
            text = for_voice(clause.text, spoken)
            if not text:
                continue
            if self._unread is not None:
                await self._unread.little()
            # The listener waits in silence for the first clause; later ones are ready while the earlier ones play.
            with less_urgent(Urgency.LATER) if started else nullcontext():
                try:
                    with metrics.stage("tts") as stage:
                        async for clip in self._paced(self._clips(text, spoken)):
                            stage.first()
                            metrics.SPOKEN.inc(clip.seconds)
                            if self._unread is not None:
                                self._unread.made(clip)
                            if not started:
                                started = True
                                timings.mark("first_audio")
                                await out.send(events.SpeechStarted(clip.rate_hz))
                            await out.send(events.SpeechChunk(clip, (clause.start, clause.end)))
                except ParleyError as error:
                    log.warning("speech synthesis failed: %s: %s", error.code, error.message)
                    await out.send(events.StageError(error.code, error.message))
                    break
        async for _ in pending:
            pass  # the voice has failed, but the reply is written to its end
        timings.mark("speech_done")

    async def _paced(self, clips: AsyncGenerator[Clip, None]) -> AsyncGenerator[Clip, None]:
        """Apply the requested speed, clause by clause, so that each keeps the position of its own audio."""
        async with aclosing(clips):
            if self._options.speed == 1.0:
                async for clip in clips:
                    yield clip
                return
            tempo: Tempo | None = None
            async for clip in clips:
                tempo = tempo or Tempo(clip.rate_hz, self._options.speed)
                if len(samples := tempo.feed(clip.samples)):
                    yield Clip(samples, clip.rate_hz)
            if tempo is not None and len(samples := tempo.finish()):
                yield Clip(samples, tempo.rate_hz)

    async def _clips(self, text: str, language: str | None) -> AsyncGenerator[Clip, None]:
        """Yield the voice's clips of one clause, each within its deadline."""
        try:
            async with aclosing(self._tts.speak(text, voice=self._voice, language=language)) as clips:
                while True:
                    try:
                        async with asyncio.timeout(tts.TIMEOUT_S):
                            clip = await anext(clips)
                    except StopAsyncIteration:
                        return
                    yield clip
        except TimeoutError:
            raise StageFailed("Speech synthesis took too long.", code="timeout") from None
        except EngineError as error:
            raise StageFailed.of(error, code="tts_failed") from error
