"""The arriving sound of one connection: a recording or a command to transcribe, or sound in which to find wake words.

A request is over when its answer is sent, which can be before the client ends the sound: after the end of a command, a
wake word, or an error. The rest of the sound is ignored.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Protocol

from wyoming.asr import Transcribe, Transcript, TranscriptStop
from wyoming.audio import AudioChunk
from wyoming.event import Eventable
from wyoming.wake import Detect, NotDetected

from pipeline.assistant import Assistant
from pipeline.errors import BadInput, ParleyError
from pipeline.support.json_types import JsonObject
from server.access.limits import Share
from server.wyoming.audio import Conversion, SoundIn
from server.wyoming.command import Command, is_live
from server.wyoming.responses import Responses
from server.wyoming.wake import WakeStream


class Begin(Protocol):
    """Runs a request after the previous one. ends: the events to send if it fails."""

    async def __call__(self, work: Callable[[], Coroutine[object, object, None]], *ends: Eventable) -> None: ...


class Hearing:
    """Takes the sound of one connection. Each method can wait for the previous request."""

    def __init__(
        self, assistant: Assistant, responses: Responses, begin: Begin, held: Share, converting: asyncio.Lock
    ) -> None:
        """held: counts the bytes of the sound. converting: see `Conversion`."""
        self._assistant, self._responses, self._begin = assistant, responses, begin
        self._held, self._converting = held, converting
        self._asked = Transcribe()
        self._sound: SoundIn | None = None
        self._began_s = 0.0
        """Loop time of the first chunk."""
        self._command: Command | None = None
        """The command in the sound, once the sound is known to arrive as it is spoken."""
        self._wake: WakeStream | None = None
        """Searches the sound for wake words; None: it is transcribed."""
        self._answered = False
        """Whether this sound was refused; the client has received the end of the response."""
        self._refused = False
        """Whether the request was refused before its sound."""

    async def transcribe(self, asked: Transcribe) -> None:
        """Transcribe the sound that follows, or refuse it if the recogniser lacks its language."""
        self._refused = False
        if self._answered or (self._command is not None and self._command.over):
            self.forget()  # the previous sound, whose end the client has not sent
        self._asked, self._wake = asked, None
        try:
            self._responses.heard_language(asked)
        except BadInput as error:
            await self.refuse_transcription(error, asked)

    async def detect(self, asked: Detect) -> None:
        """Search the sound that follows for wake words, instead of transcribing it."""
        self._refused = False
        self.forget()
        try:
            self._wake = WakeStream(asked, Conversion(self._converting), self._held)
        except BadInput as error:
            await self.refuse_detection(error, asked.context)

    async def refuse_transcription(self, error: BadInput, asked: Transcribe | None = None) -> None:
        """Refuse to transcribe the sound that follows. asked: the request, if it could be read."""
        self._asked, self._wake, self._refused = Transcribe(), None, True
        self.forget()
        await self._begin(partial(_failing, error), *_no_transcript(asked or self._asked))

    async def refuse_detection(self, error: BadInput, context: JsonObject | None = None) -> None:
        """Refuse to search the sound that follows. context: the client's context, which the response repeats."""
        self._wake, self._refused = None, True
        self.forget()
        await self._begin(partial(_failing, error), NotDetected(context))

    async def take(self, chunk: AudioChunk) -> None:
        """Process the next chunk of sound."""
        if self._answered:
            return
        try:
            await (self._hear(chunk) if self._wake is None else self._listen(chunk, self._wake))
        except ParleyError as error:
            await self.refuse(error)

    async def end(self) -> None:
        """Process the end of the sound; following chunks begin a new one."""
        asked, sound, command, wake, answered = self._asked, self._sound, self._command, self._wake, self._answered
        self._asked, self._sound, self._command, self._wake = Transcribe(), None, None, None
        self._answered = self._refused = False
        if answered:
            return
        if wake is not None:
            if not wake.detected:
                await self._begin(lambda: self._responses.tell(NotDetected(wake.context)))
        elif command is not None:
            if command.over and sound is not None:
                sound.release()
            command.stop()
        else:
            await self._begin(lambda: self._responses.transcribe(asked, sound), *_no_transcript(asked))

    async def refuse(self, error: ParleyError) -> None:
        """Refuse the sound and the rest of it that still arrives, and end the response."""
        if self._answered:
            return
        command, wake = self._command, self._wake
        if self._sound is not None:
            self._sound.release()
        self._sound, self._command, self._answered = None, None, True
        if command is not None:
            command.fail(error)
        else:
            ends = _no_transcript(self._asked) if wake is None else (NotDetected(wake.context),)
            await self._begin(partial(_failing, error), *ends)

    def forget(self) -> None:
        """Discard the sound so far; a new one begins."""
        if self._sound is not None:
            self._sound.release()
        if self._command is not None:
            self._command.drop()
        self._sound, self._command, self._answered = None, None, self._refused

    async def _hear(self, chunk: AudioChunk) -> None:
        loop, sound, command = asyncio.get_running_loop(), self._sound, self._command
        if command is not None and command.over:
            return
        if sound is None:
            conversion = Conversion(self._converting)
            self._sound = sound = SoundIn(self._held, self._assistant.settings.max_audio_seconds, conversion)
            self._began_s = loop.time()
        await sound.take(chunk, command.hear if command is not None else None)
        if command is None and is_live(sound.seconds, loop.time() - self._began_s):
            await self._follow(sound)

    async def _follow(self, sound: SoundIn) -> None:
        """Listen for the end of the command from now on. Raises BadInput (unsupported_language)."""
        command, asked = self._responses.command(self._asked), self._asked
        await self._begin(lambda: self._responses.follow(command, asked, sound), *_no_transcript(asked))
        self._command = command
        await asyncio.sleep(0)  # the request opens the command
        for samples in sound.pieces():
            await command.hear(samples)

    async def _listen(self, chunk: AudioChunk, wake: WakeStream) -> None:
        found = await wake.take(chunk)
        if found is not None:
            with contextlib.suppress(OSError):  # disconnected: the reader handles it
                await self._responses.tell(found)


def _no_transcript(asked: Transcribe) -> tuple[Eventable, ...]:
    """Return the end of the response to sound that cannot be transcribed."""
    return Transcript("", context=asked.context), TranscriptStop()


async def _failing(error: ParleyError) -> None:
    raise error
