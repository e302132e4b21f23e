"""A turn's events as a chat completion, whole or in chunks."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from pipeline.audio.clip import Clip, wav_header
from pipeline.audio.encode import RATE_HZ, Encoder
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.errors import ParleyError
from pipeline.llm import ToolCall, Usage
from pipeline.speech.synthesize import silence
from pipeline.support.encodable import encodable
from pipeline.support.json_types import JsonObject
from server.access.limits import Share
from server.errors import as_openai
from server.openai.chat.fields import ChatRequest
from server.openai.chat.recent import Owner, Recent
from server.openai.sse import DONE, sse

WHOLE_BYTES = 6
"""Chunks of sound have a multiple of this many bytes, except for the last one: whole samples whose base64 can be
joined."""


class Completion:
    """One completion."""

    def __init__(self, wanted: ChatRequest, model: str, recent: Recent, owner: Owner) -> None:
        """model: reported to the client."""
        self._wanted = wanted
        self._recent, self._owner = recent, owner
        self._head: JsonObject = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._audio_id, self._sent_id = Recent.new_id(), False
        self._calls: list[ToolCall] = []

    async def whole(self, happenings: AsyncGenerator[Event, None], held: Share) -> bytes:
        """Return the completion as JSON. held: counts the sound until then; the response counts its own bytes. Raises
        ParleyError when the turn fails."""
        counted = 0

        def hold(size: int) -> None:
            nonlocal counted
            held.hold(size)
            counted += size

        try:
            return await self._whole(happenings, hold)
        finally:
            held.give_back(counted)

    async def _whole(self, happenings: AsyncGenerator[Event, None], hold: Callable[[int], None]) -> bytes:
        clips: list[Clip] = []
        end = events.TurnCompleted("", {})
        async with aclosing(happenings):
            async for event in happenings:
                match event:
                    case events.SpeechChunk(clip):
                        hold(clip.samples.nbytes)
                        clips.append(clip)
                    case events.ToolCalled(call):
                        self._called(call)
                    case events.TurnCompleted():
                        end = event
                    case _:
                        pass
        message: JsonObject = {"role": "assistant", "content": end.reply or None, "refusal": None, "annotations": []}
        if self._calls:
            message["tool_calls"] = [_call(call) for call in self._calls]
        if self._wanted.audio is not None and self._wanted.aloud and (end.reply.strip() or not self._calls):
            sound = await asyncio.to_thread(_file, clips, self._wanted.audio.format)
            message["content"] = None
            message["audio"] = {
                "id": self._audio_id,
                "data": await asyncio.to_thread(_base64, sound),
                "transcript": end.reply,
                "expires_at": self._keep(end.reply),
            }
        choice: JsonObject = {"index": 0, "message": message, "finish_reason": self._reason(end), "logprobs": None}
        body = {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage(end)}
        return await asyncio.to_thread(_json, body)

    async def chunks(self, happenings: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
        """Yield the completion as events. An error before the first one is raised; a later one becomes an event."""
        begun = False
        try:
            async with aclosing(self._deltas(happenings)) as deltas:
                async for delta in deltas:
                    begun = True
                    yield delta
        except ParleyError as error:
            if not begun:
                raise
            yield sse(as_openai(error))
        yield DONE

    async def _deltas(self, happenings: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
        aloud, begun, spoken = self._wanted.aloud, False, False
        speech = _Pcm()
        async with aclosing(happenings):
            async for event in happenings:
                if not begun and isinstance(event, events.ReplyDelta | events.ToolCalled | events.TurnCompleted):
                    begun = True
                    yield self._chunk({"role": "assistant", "content": None if aloud else "", "refusal": None})
                match event:
                    case events.ReplyDelta(text) if aloud:
                        yield self._audio({"transcript": text})
                    case events.ReplyDelta(text):
                        yield self._chunk({"content": text})
                    case events.ToolCalled(call):
                        if self._called(call):
                            yield self._chunk({"tool_calls": [{"index": len(self._calls) - 1, **_call(call)}]})
                    case events.SpeechChunk(clip):
                        spoken = True
                        if data := await asyncio.to_thread(speech.feed, clip):
                            yield self._audio({"data": data})
                    case events.TurnCompleted():
                        if aloud and (event.reply.strip() or not self._calls):
                            if data := await asyncio.to_thread(speech.finish, None if spoken else silence()):
                                yield self._audio({"data": data})
                            yield self._chunk({"audio": {"expires_at": self._keep(event.reply)}})
                        yield self._chunk({}, self._reason(event))
                        if self._wanted.stream_options.include_usage:
                            yield sse({**self._chunk_head(), "choices": [], "usage": self._usage(event)})
                    case _:
                        pass

    def _called(self, call: ToolCall) -> bool:
        """Note a call; return whether the client gets it."""
        if self._calls and not self._wanted.parallel_tool_calls:
            return False
        self._calls.append(call)
        return True

    def _keep(self, words: str) -> int:
        """Keep the words of this reply for later requests; return until when."""
        return self._recent.said.put(self._owner, self._audio_id, words)

    def _audio(self, delta: JsonObject) -> bytes:
        """Return a chunk with sound or its words. Only the first one has the id, because clients join the strings of
        all chunks."""
        id, self._sent_id = ({} if self._sent_id else {"id": self._audio_id}), True
        return self._chunk({"audio": {**id, **delta}})

    def _chunk_head(self) -> JsonObject:
        return {**self._head, "object": "chat.completion.chunk"}

    def _chunk(self, delta: JsonObject, reason: str | None = None) -> bytes:
        choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        usage: JsonObject = {"usage": None} if self._wanted.stream_options.include_usage else {}
        return sse({**self._chunk_head(), "choices": [choice], **usage})

    def _reason(self, end: events.TurnCompleted) -> str:
        return "tool_calls" if self._calls else "length" if end.cut else "stop"

    def _usage(self, end: events.TurnCompleted) -> JsonObject:
        """Return the tokens as the engine counted them, or an estimate: a token is about four characters."""
        asked = sum(len(message.content) for message in self._wanted.messages if isinstance(message.content, str))
        used = end.usage or Usage(max(1, asked // 4), max(1, len(end.reply) // 4))
        return {
            "prompt_tokens": used.input_tokens,
            "completion_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        }


class _Pcm:
    """Encodes speech as base64 of 16-bit PCM, in chunks whose base64 can be joined."""

    def __init__(self) -> None:
        self._encoder = Encoder("pcm")
        self._rest = b""

    def feed(self, clip: Clip) -> str:
        data = self._rest + self._encoder.feed(clip)
        whole = len(data) - len(data) % WHOLE_BYTES
        self._rest = data[whole:]
        return _base64(data[:whole])

    def finish(self, last: Clip | None) -> str:
        data = self._encoder.feed(last) if last is not None else b""
        return _base64(self._rest + data + self._encoder.finish())


def _call(call: ToolCall) -> JsonObject:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _file(clips: Sequence[Clip], kind: str) -> bytes:
    """Encode a whole reply. Blocking."""
    encoder = Encoder("pcm" if kind in ("wav", "pcm16") else kind)
    data = b"".join([*map(encoder.feed, clips or [silence()]), encoder.finish()])
    return wav_header(RATE_HZ, len(data)) + data if kind == "wav" else data


def _json(body: JsonObject) -> bytes:
    return encodable(json.dumps(body, ensure_ascii=False)).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
