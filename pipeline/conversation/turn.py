"""One turn: transcript → reply → speech, the three overlapped, and cancellable at any point."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field, replace

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.audio.speed import Tempo
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.reply_options import ReplyOptions, ReplyToHistory
from pipeline.conversation.timings import Timings
from pipeline.errors import EngineError, ParleyError, StageFailed
from pipeline.llm import LanguageModel, Message, ReplyDelta, Tool, ToolCall, Usage
from pipeline.settings import Settings
from pipeline.speech.clauses import Clause, clauses
from pipeline.speech.language import text_language
from pipeline.speech.normalise import for_voice
from pipeline.stt import SpeechToText, Transcript
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.support.encodable import Halves, encodable
from pipeline.support.phrases import NOTHING_HEARD, ONE_MOMENT, phrase
from pipeline.telemetry import metrics
from pipeline.tools import Company, Outcome
from pipeline.tts import TextToSpeech
from pipeline.voices.catalogue import Voice
from pipeline.workers.scheduler import Urgency, for_session, less_urgent

log = logging.getLogger(__name__)

TURN_TIMEOUT_S = 300.0
"""Timeout for a whole turn in seconds, from the end of the user's words to the end of the reply; in a live
conversation, to the end of its sound. Reached only by a model that does not stop."""
TOOL_SILENCE_S = 0.7
"""Seconds of a function call after which the assistant says that it takes a moment: a longer silence sounds broken."""
EVENTS_AHEAD = 256
"""Limit of events that wait for a slow reader before the stages wait, too."""
CLAUSES_AHEAD = 64
"""Limit of clauses that wait for the voice before the language model waits, too."""
TOOL_ROUNDS = 5
"""Limit of rounds of function calls in a turn: a model that only calls functions would never reply."""


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
    handed_over: bool = False
    """Whether the reply ended with a function call that the client runs."""
    called: bool = False
    """Whether functions were called: that counts as a reply, even if the model says nothing about it."""
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
    ) -> None:
        """language: ISO 639-1 of the expected speech; None to detect it. answer_silence: say that nothing was heard,
        else end the turn with an empty reply. said_before: the transcripts, possibly still pending, of earlier parts of
        the utterance. committed: set when it is certain that the user has finished (None: it is); functions with side
        effects wait for it. ahead: prepare the reply before that; False: only the transcript. company: the live
        conversation."""
        self._stages = stages
        self._settings = settings
        self._voice = (reply_options.voice if reply_options else None) or voice
        self._language = language
        self._answer_silence = answer_silence
        self._said_before = said_before
        self._manner = reply_options or ReplyOptions()
        self._committed = committed
        self._ahead = ahead
        self._company = company

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
        deltas = _only(prompt) if isinstance(prompt, str) else self._deltas(self._asked(prompt), language, reply, out)
        pending: Channel[Clause] = Channel(CLAUSES_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(deltas, language, reply, pending, out))
                await self._speak(pending, language, reply, out)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed  # the first one is the cause, later ones only follow from it
        if not (reply.text.strip() or reply.called or reply.handed_over or reply.cut):
            raise StageFailed("The language model returned an empty reply.", code="llm_unavailable")

    def _asked(self, prompt: list[Message]) -> list[Message]:
        """Return the prompt with the instructions of this turn."""
        if self._manner.instructions is None:
            return prompt
        rest = prompt[1:] if prompt and prompt[0].role == "system" else prompt
        return [Message("system", self._manner.instructions), *rest]

    async def _deltas(
        self, messages: list[Message], language: str | None, reply: _Reply, out: Channel[Event]
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Yield the reply; run the functions that the model calls in between."""
        for round in range(TOOL_ROUNDS):
            tools: Sequence[Tool] = ()
            # A required call is required once: the round after it is the reply.
            if round == 0 or self._manner.tools.choice == "auto":
                tools = self._manner.tools.tools(live=self._company is not None)
            must_call = round == 0 and bool(tools) and self._manner.tools.choice not in ("auto", "none")
            calls: list[ToolCall] = []
            said = ""
            with metrics.stage("llm") as stage:
                async with aclosing(self._stages.llm.reply(messages, tools=tools, must_call=must_call)) as deltas:
                    async for delta in deltas:
                        if delta.text or delta.calls:
                            stage.first()
                        calls += [_encodable(call) for call in delta.calls]
                        said += delta.text
                        yield delta
            if not calls or reply.cut:
                return
            messages = [*messages, Message("assistant", said, calls=tuple(calls))]
            for call in calls:
                if self._manner.tools.is_client(call.name):
                    reply.handed_over = True
                    await out.send(events.ToolCalled(call))
                    continue
                reply.called = True
                if not reply.text.strip() and (words := self._words_meanwhile(call, language)) is not None:
                    async with background(self._call(call, out)) as running:
                        done, _ = await asyncio.wait([running], timeout=TOOL_SILENCE_S)
                        if not done:
                            yield ReplyDelta(words)
                        outcome = await running
                else:
                    outcome = await self._call(call, out)
                messages.append(Message("tool", outcome.output, call_id=call.id))
            if reply.handed_over:
                return
        raise StageFailed("The language model keeps calling functions without a reply.", code="llm_unavailable")

    def _words_meanwhile(self, call: ToolCall, language: str | None) -> str | None:
        return phrase(ONE_MOMENT, language)[0] + " " if self._manner.tools.function(call.name) else None

    async def _call(self, call: ToolCall, out: Channel[Event]) -> Outcome:
        """Run a function here, with events for its start and its end."""
        function = self._manner.tools.function(call.name)
        server = function.server if function else ""
        if function is not None and function.side_effects and self._committed is not None:
            await self._committed.wait()
        await out.send(events.ToolStarted(call, server))
        with metrics.stage("tool"):
            outcome = await self._manner.tools.call(call, self._company)
        await out.send(events.ToolEnded(call, server, outcome.output, outcome.failed))
        return outcome

    async def _transcribe(self, utterance: Clip) -> Transcript:
        try:
            with metrics.stage("stt"):
                heard = await stt.in_time(
                    self._stages.stt,
                    utterance,
                    language=self._language,
                    prompt=self._manner.hint,
                    limit_s=self._settings.stt_timeout_s,
                    words=self._manner.words,
                )
            metrics.TRANSCRIBED.inc(utterance.seconds)
            return replace(heard, text=encodable(heard.text))
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
        """Emit the reply's text as events, and send its clauses to `pending` as soon as each can be spoken."""

        halves = Halves()

        async def texts() -> AsyncGenerator[str, None]:
            async for delta in deltas:
                text = halves.feed(delta.text)
                if delta.usage is not None:
                    reply.usage = delta.usage if reply.usage is None else reply.usage + delta.usage
                    metrics.PROMPT_TOKENS.inc(delta.usage.input_tokens)
                    metrics.COMPLETION_TOKENS.inc(delta.usage.output_tokens)
                if text:
                    yield await said(text)
                    reply.tokens += 1
                    if self._manner.max_tokens is not None and reply.tokens >= self._manner.max_tokens:
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
            pending.close(_failed(error, "llm_unavailable"))
        except ParleyError as error:
            pending.close(error)
        else:
            reply.timings.mark("reply_done")
            pending.close()
        finally:
            await deltas.aclose()

    async def _speak(self, pending: Channel[Clause], language: str | None, reply: _Reply, out: Channel[Event]) -> None:
        """Synthesise the clauses. When the voice fails, the turn continues without it: the text still arrives."""
        started = False
        usual = spoken = self._voice.language(language)
        async for clause in pending:
            spoken = text_language(clause.text, usual=usual, speaks=self._stages.tts.speaks, before=spoken)
            text = for_voice(clause.text, spoken) if self._manner.aloud else ""
            if not text:
                continue
            # The listener waits in silence for the first clause; later ones are ready while the earlier ones play.
            with less_urgent(Urgency.LATER) if started else nullcontext():
                try:
                    with metrics.stage("tts") as stage:
                        async for clip in self._paced(self._clips(text, spoken)):
                            stage.first()
                            metrics.SPOKEN.inc(clip.seconds)
                            if not started:
                                started = True
                                reply.timings.mark("first_audio")
                                await out.send(events.SpeechStarted(clip.rate_hz))
                            await out.send(events.SpeechChunk(clip, (clause.start, clause.end)))
                except ParleyError as error:
                    log.warning("speech synthesis failed: %s: %s", error.code, error.message)
                    await out.send(events.StageError(error.code, error.message))
                    break
        async for _ in pending:
            pass  # the voice has failed, but the reply is written to its end
        reply.timings.mark("speech_done")

    async def _paced(self, clips: AsyncGenerator[Clip, None]) -> AsyncGenerator[Clip, None]:
        """Apply the requested speed, clause by clause, so that each keeps the position of its own audio."""
        async with aclosing(clips):
            if self._manner.speed == 1.0:
                async for clip in clips:
                    yield clip
                return
            tempo: Tempo | None = None
            async for clip in clips:
                tempo = tempo or Tempo(clip.rate_hz, self._manner.speed)
                if len(samples := tempo.feed(clip.samples)):
                    yield Clip(samples, clip.rate_hz)
            if tempo is not None and len(samples := tempo.finish()):
                yield Clip(samples, tempo.rate_hz)

    async def _clips(self, text: str, language: str | None) -> AsyncGenerator[Clip, None]:
        """Yield the voice's clips of one clause, each within its deadline."""
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
            raise StageFailed("Speech synthesis took too long.", code="timeout") from None
        except EngineError as error:
            raise _failed(error, "tts_failed") from error


def _watched(watch: metrics.TurnWatch, event: Event) -> None:
    match event:
        case events.TurnCompleted():
            watch.end("completed", timings_ms=event.timings_ms)
        case events.TurnFailed(code):
            watch.end("failed", code=code, timings_ms=event.timings_ms)
        case _:
            pass


def _encodable(call: ToolCall) -> ToolCall:
    return ToolCall(encodable(call.id), encodable(call.name), encodable(call.arguments))


def _failed(error: EngineError, code: str) -> StageFailed:
    """Return an engine's error with the code of its stage; a timeout stays one."""
    return StageFailed(error.message, code="timeout" if error.code == "timeout" else code)


async def _only(sentence: str) -> AsyncGenerator[ReplyDelta, None]:
    """Yield a reply that is known beforehand."""
    yield ReplyDelta(sentence)
