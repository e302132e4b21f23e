"""One turn: transcript → reply → speech, the three overlapped, and cancellable at any point."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field

from pipeline import events
from pipeline.audio import Clip
from pipeline.channel import Channel
from pipeline.conversation import Conversation
from pipeline.errors import EngineError, ParleyError, StageFailed
from pipeline.events import Event
from pipeline.llm import LanguageModel, ReplyDelta, Usage
from pipeline.phrases import NOTHING_HEARD, phrase
from pipeline.settings import Settings
from pipeline.spoken import for_voice
from pipeline.stt import SpeechToText, Transcript
from pipeline.text import Clause, clauses
from pipeline.timing import Timings
from pipeline.tts import TextToSpeech
from pipeline.voices import Voice
from pipeline.workers.scheduler import Urgency, for_session, less_urgent

log = logging.getLogger(__name__)

EVENTS_AHEAD = 256
"""Events that may wait for a slow listener before the stages wait, too."""
CLAUSES_AHEAD = 64
"""Clauses that may wait for the voice before the language model waits, too."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The resident engines of a deployment, shared by all turns."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the assistant says by itself, without being asked."""

    text: str
    language: str


@dataclass(slots=True)
class _Reply:
    """What of the reply is there so far."""

    text: str = ""
    usage: Usage | None = None
    timings: Timings = field(default_factory=Timings)


class Turn:
    """One utterance and its answer. Has no side effect but its events: the history is read, never written."""

    def __init__(
        self,
        stages: Stages,
        settings: Settings,
        *,
        voice: Voice,
        language: str | None,
        answer_silence: bool = True,
        said_before: Sequence[asyncio.Task[Transcript]] = (),
    ) -> None:
        """language: ISO 639-1 of what will be spoken; None to detect it. answer_silence: say that nothing was heard,
        else end the turn with an empty reply. said_before: the transcripts, perhaps still being
        made, of what precedes the utterance.
        """
        self._stages = stages
        self._settings = settings
        self._voice = voice
        self._language = language
        self._answer_silence = answer_silence
        self._said_before = said_before

    async def run(
        self, utterance: Clip | Transcript | Announcement, conversation: Conversation
    ) -> AsyncGenerator[Event, None]:
        """The events of the turn, on sound or on what is text already; the last one is its only end event.

        Closing the generator cancels all stage calls below and waits until they have ended.
        """
        out: Channel[Event] = Channel(EVENTS_AHEAD)
        # A task of its own, because a TaskGroup must not span a `yield`: it would cancel our caller.
        with for_session(conversation.id):
            work = asyncio.create_task(self._work(utterance, conversation, out))
        try:
            async for event in out:
                yield event
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def _work(
        self, utterance: Clip | Transcript | Announcement, conversation: Conversation, out: Channel[Event]
    ) -> None:
        """The whole turn; whatever fails becomes its one end event."""
        reply = _Reply()
        try:
            async with asyncio.timeout(self._settings.turn_timeout_s):
                await self._answer(utterance, conversation, reply, out)
            end: Event = events.TurnCompleted(reply.text, reply.timings.ms(), reply.usage)
        except ParleyError as error:
            log.warning("turn failed: %s: %s", error.code, error.message)
            end = events.TurnFailed(error.code, error.message, reply.timings.ms())
        except TimeoutError:
            log.warning("turn took longer than %g s", self._settings.turn_timeout_s)
            end = events.TurnFailed("timeout", "The turn took too long.", reply.timings.ms())
        except Exception:
            log.exception("turn failed")
            end = events.TurnFailed("internal", "Something went wrong inside the service.", reply.timings.ms())
        await out.send(end)
        out.close()

    async def _answer(
        self,
        utterance: Clip | Transcript | Announcement,
        conversation: Conversation,
        reply: _Reply,
        out: Channel[Event],
    ) -> None:
        await out.send(events.TurnStarted(secrets.token_hex(8)))
        language: str | None
        if isinstance(utterance, Announcement):
            deltas, language = _only(utterance.text), utterance.language
        else:
            transcript = utterance if isinstance(utterance, Transcript) else await self._transcribe(utterance)
            reply.timings.mark("transcript")
            # Shielded: other turns on the same utterance wait for them, too.
            before = [(await asyncio.shield(part)).text for part in self._said_before]
            said = " ".join([*before, transcript.text]).strip()
            await out.send(events.TranscriptFinal(said, transcript.language))
            language = transcript.language or self._language or conversation.language
            if said:
                deltas = self._stages.llm.reply(conversation.prompt(said, language))
            elif not self._answer_silence:
                return
            else:
                sentence, language = phrase(NOTHING_HEARD, self._language or conversation.language or language)
                deltas = _only(sentence)
        pending: Channel[Clause] = Channel(CLAUSES_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(deltas, language, reply, pending, out))
                await self._speak(pending, language, reply, out)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed  # the first one is the cause, what follows only its echo
        if not reply.text.strip():
            raise StageFailed("The language model gave an empty reply.", code="llm_unavailable")

    async def _transcribe(self, utterance: Clip) -> Transcript:
        try:
            async with asyncio.timeout(self._settings.stt_timeout_s):
                return await self._stages.stt.transcribe(utterance, language=self._language, prompt=None, words=False)
        except TimeoutError:
            raise StageFailed("Speech recognition took too long.", code="timeout") from None
        except EngineError as error:
            raise _failed(error, "stt_failed") from error

    async def _write(
        self,
        deltas: AsyncGenerator[ReplyDelta, None],
        language: str | None,
        reply: _Reply,
        pending: Channel[Clause],
        out: Channel[Event],
    ) -> None:
        """The reply's text into events, and its clauses into `pending` as soon as each is speakable."""

        async def texts() -> AsyncGenerator[str, None]:
            async for delta in deltas:
                reply.usage = delta.usage or reply.usage
                if delta.text:
                    reply.timings.mark("first_token")
                    reply.text += delta.text
                    await out.send(events.ReplyDelta(delta.text))
                    yield delta.text

        try:
            async with aclosing(clauses(texts(), language=language)) as ready:
                async for clause in ready:
                    reply.timings.mark("first_clause")
                    await pending.send(clause)
        except EngineError as error:
            pending.close(_failed(error, "llm_unavailable"))
        except ParleyError as error:
            pending.close(error)
        else:
            reply.timings.mark("reply_done")
            pending.close()
        finally:
            await deltas.aclose()

    async def _speak(self, pending: Channel[Clause], language: str | None, reply: _Reply, out: Channel[Event]) -> None:
        """Clauses into sound. When the voice fails, the turn goes on without it: the text still arrives."""
        started = False
        async for clause in pending:
            text = for_voice(clause.text, language)
            if not text:
                continue
            # The first clause is waited for in silence; the others while the ones before them are played.
            with less_urgent(Urgency.LATER) if started else nullcontext():
                try:
                    async for clip in self._clips(text, language):
                        if not started:
                            started = True
                            reply.timings.mark("first_audio")
                            await out.send(events.SpeechStarted(clip.rate_hz))
                        await out.send(events.SpeechChunk(clip, (clause.start, clause.end)))
                except ParleyError as error:
                    log.warning("speech failed: %s: %s", error.code, error.message)
                    await out.send(events.StageError(error.code, error.message))
                    break
        async for _ in pending:
            pass  # nobody speaks any more, but the reply is written to its end
        reply.timings.mark("speech_done")

    async def _clips(self, text: str, language: str | None) -> AsyncGenerator[Clip, None]:
        """What the voice makes of one clause, each clip within its deadline."""
        try:
            async with aclosing(self._stages.tts.speak(text, voice=self._voice, language=language)) as clips:
                while True:
                    try:
                        async with asyncio.timeout(self._settings.tts_timeout_s):
                            clip = await anext(clips)
                    except StopAsyncIteration:
                        return
                    yield clip
        except TimeoutError:
            raise StageFailed("The voice took too long.", code="timeout") from None
        except EngineError as error:
            raise _failed(error, "tts_failed") from error


def _failed(error: EngineError, code: str) -> StageFailed:
    """An engine's error under the code of its stage; a time-out stays one."""
    return StageFailed(error.message, code="timeout" if error.code == "timeout" else code)


async def _only(sentence: str) -> AsyncGenerator[ReplyDelta, None]:
    """A reply that is known beforehand."""
    yield ReplyDelta(sentence)
