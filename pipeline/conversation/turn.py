"""One turn: transcript → reply → speech, the three overlapped, and cancellable at any point."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.reply_options import ReplyOptions, ReplyToHistory
from pipeline.conversation.spoken_reply import SpokenReply
from pipeline.conversation.timings import Timings
from pipeline.conversation.tool_rounds import ToolRounds
from pipeline.errors import EngineError, ParleyError, StageFailed
from pipeline.llm import LanguageModel, Message, ReplyDelta, Usage
from pipeline.llm.prompt import dated
from pipeline.settings import Settings
from pipeline.speech.clauses import Clause, clauses
from pipeline.speech.unread import Unread
from pipeline.stt import SpeechToText, Transcript
from pipeline.support.channel import Channel
from pipeline.support.encodable import Halves, encodable
from pipeline.support.phrases import NOTHING_HEARD, phrase
from pipeline.telemetry import metrics
from pipeline.tools import Company
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers.caller import for_session

log = logging.getLogger(__name__)

TURN_TIMEOUT_S = 300.0
"""Timeout for a whole turn in seconds, from the end of the user's words to the end of the reply; in a live
conversation, to the end of its sound. Reached only by a model that does not stop."""
EVENTS_AHEAD = 256
"""Limit of events that wait for a slow reader before the stages wait, too."""
CLAUSES_AHEAD = 64
"""Limit of clauses that wait for the voice before the language model waits, too."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The loaded engines of a deployment, shared by all turns."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech


@dataclass(frozen=True, slots=True)
class Announcement:
    """A sentence that the assistant says by itself."""

    text: str
    language: str


Utterance = Clip | Transcript | Announcement | ReplyToHistory
"""Input of a turn: audio, text, an announcement, or a request to reply to the conversation as it is."""


@dataclass(slots=True)
class _Reply:
    """The reply so far."""

    text: str = ""
    usage: Usage | None = None
    tokens: int = 0
    cut: bool = False
    """Whether the reply ended at its token limit."""
    timings: Timings = field(default_factory=Timings)


class Turn:
    """One utterance and the reply to it. The only side effect is its events: the history is read, never written."""

    def __init__(
        self,
        stages: Stages,
        settings: Settings,
        *,
        voice: Voice,
        language: str | None,
        answer_silence: bool = True,
        said_before: Sequence[asyncio.Task[Transcript]] = (),
        reply_options: ReplyOptions | None = None,
        committed: asyncio.Event | None = None,
        ahead: bool = True,
        company: Company | None = None,
        unread: Unread | None = None,
    ) -> None:
        """language: ISO 639-1 of the expected speech; None to detect it. answer_silence: say that nothing was heard,
        else end the turn with an empty reply. said_before: the transcripts, possibly still pending, of earlier parts of
        the utterance. committed: set when it is certain that the user has finished (None: it is); functions with side
        effects wait for it. ahead: prepare the reply before that; False: only the transcript. company: the live
        conversation. unread: counts the speech of a reader that notes what it has taken; None: it takes all."""
        self._stages = stages
        self._settings = settings
        self._voice = (reply_options.voice if reply_options else None) or voice
        self._language = language
        self._answer_silence = answer_silence
        self._said_before = said_before
        self._options = reply_options or ReplyOptions()
        self._committed = committed
        self._ahead = ahead
        self._company = company
        self._unread = unread

    async def run(self, utterance: Utterance, conversation: Conversation) -> AsyncGenerator[Event, None]:
        """Yield the events of the turn, from audio or text; only the last one is an end event.

        Closing the generator cancels all its stage calls and waits until they have ended.
        """
        out: Channel[Event] = Channel(EVENTS_AHEAD)
        around = metrics.turn()  # a live conversation measures its turns itself: they last until they were heard
        watch = around or metrics.TurnWatch("whole", conversation.id)
        # A separate task, because a TaskGroup must not span a `yield`: it would cancel our caller.
        with for_session(conversation.id), watch.current():
            work = asyncio.create_task(self._work(utterance, conversation, watch.id, out))
        try:
            async for event in out:
                if around is None:
                    _watched(watch, event)
                yield event
        finally:
            work.cancel()
            await asyncio.wait([work])
            if around is None:
                watch.end("left")  # without effect if the turn has ended

    async def _work(self, utterance: Utterance, conversation: Conversation, id: str, out: Channel[Event]) -> None:
        """Run the whole turn; any failure becomes its one end event."""
        reply = _Reply()
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await out.send(events.TurnStarted(id))
                await self._answer(utterance, conversation, reply, out)
            end: Event = events.TurnCompleted(reply.text, reply.timings.ms(), reply.usage, cut=reply.cut)
        except ParleyError as error:
            log.warning("turn failed: %s: %s", error.code, error.message)
            end = events.TurnFailed(error.code, error.message, reply.timings.ms())
        except TimeoutError:
            log.warning("turn took longer than %g s", TURN_TIMEOUT_S)
            end = events.TurnFailed("timeout", "The turn took too long.", reply.timings.ms())
        except Exception:
            log.exception("turn failed")
            end = events.TurnFailed("internal", "Something went wrong inside the service.", reply.timings.ms())
        log.debug("replied: %s", reply.text)
        await out.send(end)
        out.close()

    async def _answer(
        self, utterance: Utterance, conversation: Conversation, reply: _Reply, out: Channel[Event]
    ) -> None:
        language: str | None
        prompt: list[Message] | str
        match utterance:
            case Announcement():
                prompt, language = utterance.text, utterance.language
            case ReplyToHistory():
                if utterance.before:
                    await asyncio.wait(utterance.before)
                prompt = conversation.standing() if utterance.messages is None else [*utterance.messages]
                language = self._language or conversation.language
            case _:
                transcript = utterance if isinstance(utterance, Transcript) else await self._transcribe(utterance)
                reply.timings.mark("transcript")
                # Shielded, because other turns on the same utterance wait for the same transcripts.
                parts = [*[await asyncio.shield(part) for part in self._said_before], transcript]
                said = " ".join(part.text for part in parts).strip()
                language = transcript.language or self._language or conversation.language
                # Built before the event is sent: its receiver may add the words to the conversation, and they would
                # appear twice.
                prompt = conversation.prompt(said, language)
                log.debug("heard (%s): %s", transcript.language, said)
                words = tuple(word for part in parts for word in part.words)
                await out.send(events.TranscriptFinal(said, transcript.language, words))
                if not said and not self._answer_silence:
                    return
                if not self._ahead and self._committed is not None:
                    await self._committed.wait()
                if not said:
                    prompt, language = phrase(NOTHING_HEARD, self._language or conversation.language or language)
        rounds = ToolRounds(
            self._stages.llm,
            self._options.tools,
            company=self._company,
            committed=self._committed,
            out=out,
            generation=self._options.generation,
        )
        if isinstance(prompt, str):
            deltas = _only(prompt)
        else:
            own = isinstance(utterance, ReplyToHistory) and utterance.messages is not None
            asked = self._asked(prompt, None if conversation.exact or own else conversation.clock())
            deltas = rounds.deltas(asked, language, is_silent=lambda: not reply.text.strip())
        spoken = SpokenReply(
            self._stages.tts,
            self._voice,
            self._options,
            fixed_language=bool(self._settings.speech_language),
            unread=self._unread,
        )
        pending: Channel[Clause] = Channel(CLAUSES_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(deltas, language, reply, pending, out))
                await spoken.speak(pending, language, reply.timings, out)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed  # the first one is the cause, later ones only follow from it
        # The client's own limit can leave nothing, as in a thought; without one, an empty reply is a failure.
        options = self._options
        limited = options.max_tokens is not None or options.generation.max_tokens is not None
        stopped = bool(options.generation.stop)
        if not (reply.text.strip() or rounds.called or rounds.handed_over or (reply.cut and limited) or stopped):
            raise StageFailed("The language model returned an empty reply.", code="llm_unavailable")

    def _asked(self, prompt: list[Message], clock: datetime | None) -> list[Message]:
        """Return the prompt with the instructions of this turn, or with the time for the model; None: without."""
        if self._options.instructions is None:
            return prompt if clock is None else dated(prompt, clock)
        rest = prompt[1:] if prompt and prompt[0].role == "system" else prompt
        return [Message("system", self._options.instructions), *rest]

    async def _transcribe(self, utterance: Clip) -> Transcript:
        try:
            with metrics.stage("stt"):
                heard = await stt.in_time(
                    self._stages.stt,
                    utterance,
                    language=self._language or self._options.languages or None,
                    prompt=self._options.hint,
                    words=self._options.words,
                )
            metrics.TRANSCRIBED.inc(utterance.seconds)
            return replace(heard, text=encodable(heard.text))
        except EngineError as error:
            raise StageFailed.of(error, code="stt_failed") from error

    async def _write(
        self,
        deltas: AsyncGenerator[ReplyDelta, None],
        language: str | None,
        reply: _Reply,
        pending: Channel[Clause],
        out: Channel[Event],
    ) -> None:
        """Emit the reply's text as events, and send its clauses to `pending` as soon as each can be spoken."""

        halves = Halves()

        async def texts() -> AsyncGenerator[str, None]:
            async for delta in deltas:
                text = halves.feed(delta.text)
                reply.cut = reply.cut or delta.cut
                if delta.usage is not None:
                    reply.usage = delta.usage if reply.usage is None else reply.usage + delta.usage
                    metrics.PROMPT_TOKENS.inc(delta.usage.input_tokens)
                    metrics.COMPLETION_TOKENS.inc(delta.usage.output_tokens)
                if text:
                    yield await said(text)
                    reply.tokens += 1
                    if self._options.max_tokens is not None and reply.tokens >= self._options.max_tokens:
                        reply.cut = True
                        return
            if text := halves.finish():
                yield await said(text)

        async def said(text: str) -> str:
            reply.timings.mark("first_token")
            reply.text += text
            await out.send(events.ReplyDelta(text))
            return text

        try:
            async with aclosing(clauses(texts(), language=language)) as ready:
                async for clause in ready:
                    reply.timings.mark("first_clause")
                    await pending.send(clause)
        except EngineError as error:
            pending.close(StageFailed.of(error, code="llm_unavailable"))
        except ParleyError as error:
            pending.close(error)
        else:
            reply.timings.mark("reply_done")
            pending.close()
        finally:
            await deltas.aclose()


def _watched(watch: metrics.TurnWatch, event: Event) -> None:
    match event:
        case events.TurnCompleted():
            watch.end("completed", timings_ms=event.timings_ms)
        case events.TurnFailed(code):
            watch.end("failed", code=code, timings_ms=event.timings_ms)
        case _:
            pass


async def _only(sentence: str) -> AsyncGenerator[ReplyDelta, None]:
    """Yield a reply that is known beforehand."""
    yield ReplyDelta(sentence)
