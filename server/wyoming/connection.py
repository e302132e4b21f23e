"""One Wyoming connection: what comes in, and what is answered."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import numpy as np
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.handle import Handled, NotHandled
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)

from pipeline import events, stt
from pipeline.assistant import Assistant
from pipeline.audio import MAX_RATE_HZ, MIN_RATE_HZ, Clip, Samples, mono
from pipeline.channel import Channel
from pipeline.encodable import encodable_json
from pipeline.errors import BadInput, ParleyError
from pipeline.saying import say
from pipeline.stt import Transcript as Heard
from pipeline.text import clauses
from pipeline.voices import Voice
from pipeline.workers.scheduler import Urgency, calling
from server.draining import Draining
from server.openai.speech import MAX_CHARS
from server.parameters import language_code
from server.wyoming.conversations import Conversations
from server.wyoming.describing import info
from server.wyoming.reading import Broken, read_event
from server.wyoming.voices import chosen

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 1 << 20
"""Of one piece of sound: clients send some 60 ms at a time."""
IDLE_S = 600.0
"""A connection that says nothing for so long is closed."""
WRITE_S = 30.0
"""A client that does not read for so long is let go."""
TEXTS_AHEAD = 1024
SILENT_RATE_HZ = 22_050
"""Told of sound that has not a sample."""
_KINDS = {1: "u1", 2: "<i2", 4: "<i4"}
"""Bytes a sample → numpy's name."""


class Connection:
    """Requests of one client, one after the other. What it sends meanwhile waits."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        assistant: Assistant,
        conversations: Conversations,
        draining: Draining,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._assistant, self._conversations, self._draining = assistant, conversations, draining
        self._name = secrets.token_hex(8)
        self._asked = Transcribe()
        self._sound: list[Samples] = []
        self._rate_hz = 0
        self._seconds = 0.0
        self._failed: ParleyError | None = None
        """Why the sound that is coming cannot be heard; told at its end, when the client listens."""
        self._texts: Channel[str] | None = None
        """Of a text that is still being written."""
        self._answering: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the client leaves; then nothing of it runs any more."""
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    event = await read_event(self._reader, max_payload=MAX_PAYLOAD_BYTES)
                if event is None:
                    return
                try:
                    await self._take(event)
                except (KeyError, TypeError, ValueError):
                    await self._tell_error(BadInput(f"The event {event.type[:40]!r} lacks what it needs."))
                except ParleyError as error:
                    await self._tell_error(error)
        except ParleyError as error:  # too large: what follows cannot be read any more
            await self._tell_error(error)
        except Broken:
            await self._tell_error(BadInput("This is no Wyoming event.", code="unsupported_message"))
        except TimeoutError:
            pass
        finally:
            if self._texts is not None:
                self._texts.close()
            if self._answering is not None:
                self._answering.cancel()
                await asyncio.wait([self._answering])

    async def _take(self, event: Event) -> None:
        kind = event.type
        if Describe.is_type(kind):
            await self._tell(info(self._assistant))
        elif Ping.is_type(kind):
            await self._tell(Pong(Ping.from_event(event).text))
        elif Transcribe.is_type(kind):
            self._asked = Transcribe.from_event(event)
        elif AudioStart.is_type(kind):
            self._forget_sound()
        elif AudioChunk.is_type(kind):
            self._hear(AudioChunk.from_event(event))
        elif AudioStop.is_type(kind):
            await self._answer(self._transcribe)
        elif Synthesize.is_type(kind):
            if self._texts is None:  # else it is the whole of a text that is being streamed, for older servers
                asked = Synthesize.from_event(event)
                await self._answer(lambda: self._speak(asked.text, *chosen(self._assistant, asked.voice)))
        elif SynthesizeStart.is_type(kind):
            await self._begin_text(SynthesizeStart.from_event(event))
        elif SynthesizeChunk.is_type(kind):
            if self._texts is not None and not self._texts.offer(SynthesizeChunk.from_event(event).text):
                raise BadInput("The text comes faster than it can be spoken.", code="message_too_large")
        elif SynthesizeStop.is_type(kind):
            if self._texts is not None:
                self._texts.close()
                self._texts = None
        elif Transcript.is_type(kind):
            asked_text = Transcript.from_event(event)
            await self._answer(lambda: self._handle(asked_text))
        # Others are for other kinds of services; the protocol says to pass them over.

    async def _answer(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Answer beside the reading, so that a client that leaves is noticed; after the answer before it."""
        if self._answering is not None:
            await asyncio.wait([self._answering])
        self._answering = asyncio.create_task(self._answered(work()))

    async def _answered(self, work: Coroutine[Any, Any, None]) -> None:
        self._draining.came()
        try:
            with calling(session=self._name, urgency=Urgency.NOW):
                await work
        except ParleyError as error:
            await self._tell_error(error)
        except OSError:
            pass  # gone: the reader is about to notice
        except Exception:
            log.exception("a Wyoming request failed")
            await self._tell_error(ParleyError("Something went wrong inside the service."))
        finally:
            self._draining.went()

    # --- recognition ---

    def _forget_sound(self) -> None:
        self._sound, self._seconds, self._failed, self._rate_hz = [], 0.0, None, 0

    def _hear(self, chunk: AudioChunk) -> None:
        if self._failed is not None:
            return
        limit_s = self._assistant.settings.max_audio_seconds
        rate_hz = self._rate_hz or chunk.rate
        if chunk.width not in _KINDS or not 1 <= chunk.channels <= 8 or not MIN_RATE_HZ <= chunk.rate <= MAX_RATE_HZ:
            self._failed = BadInput("Send PCM of 1, 2 or 4 bytes a sample.", code="unsupported_audio")
        elif chunk.rate != rate_hz:
            self._failed = BadInput("The rate changes within the sound.", code="unsupported_audio")
        else:
            samples = mono(chunk.audio, _KINDS[chunk.width], chunk.channels)
            self._rate_hz = rate_hz
            self._seconds += len(samples) / rate_hz
            self._sound.append(samples)
            if self._seconds > limit_s:
                self._failed = BadInput(f"The sound is longer than {limit_s:g} seconds.", code="audio_too_long")
        if self._failed is not None:
            self._sound = []

    def _transcribe(self) -> Coroutine[Any, Any, None]:
        """Of what was heard until now; what comes next is another sound."""
        asked, failed, parts, rate_hz = self._asked, self._failed, self._sound, self._rate_hz
        self._asked = Transcribe()
        self._forget_sound()
        return self._transcribed(asked, failed, parts, rate_hz)

    async def _transcribed(
        self,
        asked: Transcribe,
        failed: ParleyError | None,
        parts: list[Samples],
        rate_hz: int,
    ) -> None:
        if failed is not None:
            raise failed
        if not parts:
            raise BadInput("There was no sound before its end.", code="empty_message")
        settings = self._assistant.settings
        words = ", ".join([*(asked.transcript_names or ()), *(asked.transcript_terms or ())])[:1000]
        heard = await stt.in_time(
            self._assistant.stages.stt,
            Clip(np.concatenate(parts), rate_hz),
            language=language_code(asked.language) or settings.speech_language or None,
            prompt=words or None,
            limit_s=settings.stt_timeout_s,
        )
        await self._tell(Transcript(heard.text, language=heard.language))

    # --- speech ---

    async def _begin_text(self, asked: SynthesizeStart) -> None:
        voice, language = chosen(self._assistant, asked.voice)
        texts: Channel[str] = Channel(TEXTS_AHEAD)
        self._texts = texts
        await self._answer(lambda: self._speak_as_it_comes(texts, voice, language))

    async def _speak(self, text: str, voice: Voice, language: str | None) -> None:
        if len(text) > MAX_CHARS:
            raise BadInput(f"The text is longer than {MAX_CHARS} characters.", code="bad_parameter")
        sound = _Sound(self._tell)
        await self._send(text, voice, language, sound)
        await sound.end()

    async def _speak_as_it_comes(self, texts: Channel[str], voice: Voice, language: str | None) -> None:
        sound = _Sound(self._tell)
        try:
            async with aclosing(clauses(_each(texts), language=language)) as ready:
                async for clause in ready:
                    await self._send(clause.text, voice, language, sound)
        finally:
            texts.close()  # nobody speaks any more: what is still written is not kept
        await sound.end()
        await self._tell(SynthesizeStopped())

    async def _send(self, text: str, voice: Voice, language: str | None, sound: "_Sound") -> None:
        """Nothing of a text in which there is nothing to say, such as a row of dashes."""
        assistant = self._assistant
        said = say(assistant.stages.tts, text, voice=voice, language=language, usual=assistant.settings.speech_language)
        async with aclosing(said) as clips:
            async for clip in clips:
                await sound.send(clip)

    # --- answers ---

    async def _handle(self, asked: Transcript) -> None:
        context = asked.context or {}
        name = context.get("conversation_id")
        conversation = self._conversations.get(name[:200] if isinstance(name, str) else None)
        if not asked.text.strip() or len(asked.text) > MAX_CHARS:
            raise BadInput(f"The text must have 1 to {MAX_CHARS} characters.", code="bad_parameter")
        said = Heard(asked.text.strip(), language_code(asked.language), 0.0)
        answer: Eventable = NotHandled("No answer.")
        turn = self._assistant.answer(said, conversation, voice=self._assistant.voice(), aloud=False)
        async with aclosing(turn) as happenings:
            async for event in happenings:
                match event:
                    case events.TurnCompleted(reply):
                        answer = Handled(reply.strip(), context=context or None)
                    case events.TurnFailed(_, message):
                        answer = NotHandled(message, context=context or None)
                    case _:
                        pass
        await self._tell(answer)

    # --- out ---

    async def _tell(self, what: Eventable) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                event = what.event()
                event.data = encodable_json(event.data)
                await async_write_event(event, self._writer)
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionAbortedError from None

    async def _tell_error(self, error: ParleyError) -> None:
        with contextlib.suppress(OSError):
            await self._tell(Error(error.message, error.code))


class _Sound:
    """One answer's sound: its start with the first sample, its end even if there was none."""

    def __init__(self, tell: Callable[[Eventable], Coroutine[Any, Any, None]]) -> None:
        self._tell = tell
        self._rate_hz = 0

    async def send(self, clip: Clip) -> None:
        if not self._rate_hz:
            self._rate_hz = clip.rate_hz
            await self._tell(AudioStart(self._rate_hz, 2, 1))
        await self._tell(AudioChunk(self._rate_hz, 2, 1, clip.at(self._rate_hz).pcm16()))

    async def end(self) -> None:
        if not self._rate_hz:
            await self._tell(AudioStart(SILENT_RATE_HZ, 2, 1))
        await self._tell(AudioStop())


async def _each(texts: Channel[str]) -> AsyncGenerator[str, None]:
    async for text in texts:
        yield text
