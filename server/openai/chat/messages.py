"""The messages of a chat as the prompt of a language model: sound becomes its transcript, a spoken reply its words."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline import stt
from pipeline.assistant import Assistant
from pipeline.audio.decode import decode
from pipeline.conversation.history import Conversation
from pipeline.conversation.turn import Announcement
from pipeline.errors import BadInput, EngineError, StageFailed
from pipeline.llm import Message, ToolCall
from pipeline.llm.prompt import dated
from pipeline.stt import Transcript
from pipeline.support.encodable import encodable
from pipeline.support.local_time import local_time
from pipeline.support.phrases import NOTHING_HEARD, phrase
from pipeline.telemetry import metrics
from pipeline.workers.caller import for_session
from server.access import paced
from server.errors import BadField
from server.openai.chat.fields import ChatMessage, ChatRequest, Part
from server.openai.chat.recent import Owner, Recent

MAX_SOUNDS = 32
"""Recordings in one request."""
PIECE_CHARS = 1 << 20
"""Characters of base64 that are decoded at a time, divisible by 4."""
MAX_CHARS = 500_000
"""Characters in all messages of a request: more than any context holds."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the messages of one owner's request."""

    assistant: Assistant
    recent: Recent
    owner: Owner

    async def prompt(self, wanted: ChatRequest, conversation: Conversation) -> Sequence[Message] | Announcement:
        """Return the prompt, or what to say instead of a reply if the last message is sound without words. Sets the
        conversation's language. Raises BadField, Overloaded, EngineError."""
        sounds = [part for message in wanted.messages for part in _parts(message) if part.input_audio is not None]
        if len(sounds) > MAX_SOUNDS:
            raise BadField("messages", f"The messages contain more than {MAX_SOUNDS} recordings.")
        written = sum(len(part.text or "") for message in wanted.messages for part in _parts(message))
        if written > MAX_CHARS:
            raise BadField("messages", f"The messages are longer than {MAX_CHARS} characters.")
        told: list[Message] = []
        for number, message in enumerate(wanted.messages):
            told.append(await self._message(message, f"messages.{number}", conversation))
        if sum(len(message.content) for message in told) > MAX_CHARS:
            raise BadField("messages", f"The messages are longer than {MAX_CHARS} characters.")
        if wanted.messages[-1].role == "user" and sounds and not told[-1].content.strip():
            return Announcement(*phrase(NOTHING_HEARD, conversation.language))
        if wanted.aloud and all(message.role != "system" for message in told):
            return dated([Message("system", self.assistant.settings.system_prompt), *told], local_time())
        return told

    async def _message(self, message: ChatMessage, param: str, conversation: Conversation) -> Message:
        texts, language = [], None
        for number, part in enumerate(_parts(message)):
            if part.input_audio is None:
                texts.append(part.text or part.refusal)
                continue
            heard = await self._heard(part.input_audio.data, f"{param}.content.{number}.input_audio", conversation)
            texts.append(heard.text)
            language = conversation.language = heard.language or language
        content = "\n".join(filter(None, texts)) or message.refusal
        match message.role:
            case "user":
                return Message("user", content, language)
            case "assistant":
                if message.audio is not None:
                    content = self._said(message.audio.id, f"{param}.audio.id")
                calls = tuple(
                    ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls
                )
                return Message("assistant", content, calls=calls)
            case "tool":
                return Message("tool", content, call_id=message.tool_call_id)
            case _:
                return Message("system", content)

    def _said(self, id: str, param: str) -> str:
        words = self.recent.said.get(self.owner, id)
        if words is None:
            told = f"There is no spoken reply {id[:60]!r}, or it has expired; send its transcript as content."
            raise BadField(param, told, code="audio_not_found")
        return words

    async def _heard(self, data: str, param: str, conversation: Conversation) -> Transcript:
        """Return the transcript of a recording in base64."""
        await paced()
        sound = await asyncio.to_thread(_decoded, data, f"{param}.data")
        digest = (await asyncio.to_thread(hashlib.sha256, sound)).hexdigest()
        if (known := self.recent.heard.get(self.owner, digest)) is not None:
            return known
        settings = self.assistant.settings
        try:
            clip = await decode(sound, max_seconds=settings.max_audio_seconds)
        except BadInput as error:
            raise BadField(f"{param}.data", error.message, code=error.code) from error
        try:
            with for_session(conversation.id), metrics.stage("stt"):
                heard = await stt.in_time(
                    self.assistant.stages.stt,
                    clip,
                    language=settings.speech_language or None,
                    prompt=None,
                )
        except StageFailed as error:
            raise EngineError(error.message, code=error.code) from error
        metrics.TRANSCRIBED.inc(clip.seconds)
        heard = replace(heard, text=encodable(heard.text))
        self.recent.heard.put(self.owner, digest, heard)
        return heard


def _parts(message: ChatMessage) -> Sequence[Part]:
    if isinstance(message.content, str):
        return [Part(type="text", text=message.content)]
    return message.content


def _decoded(data: str, param: str) -> bytes:
    """Decode base64, or a data URL. Blocking; in pieces, between which other threads run."""
    data = data.rpartition(",")[2]
    try:
        if "=" in data[:-2]:
            raise binascii.Error
        pieces = (data[start : start + PIECE_CHARS] for start in range(0, len(data), PIECE_CHARS))
        return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except (binascii.Error, ValueError):
        raise BadField(param, "The recording is not valid base64.", code="bad_audio") from None
