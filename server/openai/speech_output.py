"""Synthesized speech as events or lines of JSON, and with the times of its words (`timestamp_granularities`) in the
form of Kokoro-FastAPI's captioned speech."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing

from pipeline.audio.clip import Clip
from pipeline.audio.encode import FORMATS, Encoder
from pipeline.errors import ParleyError
from pipeline.speech.synthesize import Said, silence
from pipeline.stt import Word
from pipeline.support.json_types import JsonObject
from server.access import paced
from server.access.limits import Share
from server.errors import as_json, as_openai
from server.openai.sse import sse

COPIES = 3
"""Copies of the sound of a whole response, as bytes, as base64 and in JSON."""
Timing = Callable[[Clip, Said], Coroutine[object, object, list[Word]]]
"""Returns the words of a clause with their times from the start of its sound; the second argument is its last sound."""


class SpeechOutput:
    """Encodes the sound of a text, and finds the times of its words clause by clause."""

    def __init__(self, kind: str, speed: float, timing: Timing | None = None) -> None:
        """kind: a key of FORMATS. speed: of the sound; the times are those of the faster or slower sound. timing: None:
        the times of words are not wanted."""
        self._kind, self._speed, self._timing = kind, speed, timing
        self._begun_s = 0.0
        """Start of the clause, at normal speed."""

    async def parts(self, all_said: AsyncGenerator[Said, None]) -> AsyncGenerator[bytes | list[Word], None]:
        """Yield the encoded sound, and after each clause its words. Raises EngineError, Overloaded, StageFailed."""
        encoder = await asyncio.to_thread(Encoder, self._kind, speed=self._speed)
        clause: list[Said] = []
        spoken = False
        async with aclosing(all_said):
            async for one in all_said:
                if clause and one.clause != clause[-1].clause:
                    yield await self._words(clause)
                    clause.clear()
                if self._timing is not None:
                    clause.append(one)
                spoken = True
                if data := await asyncio.to_thread(encoder.feed, one.clip):
                    yield data
        if clause:
            yield await self._words(clause)
        if not spoken and (data := await asyncio.to_thread(encoder.feed, silence())):
            yield data
        if data := await asyncio.to_thread(encoder.finish):
            yield data

    async def _words(self, clause: list[Said]) -> list[Word]:
        clip = Clip.join((one.clip for one in clause), clause[0].clip.rate_hz)
        words = await self._timing(clip, clause[-1]) if self._timing is not None else []
        begun_s, self._begun_s = self._begun_s, self._begun_s + clip.seconds
        return [
            Word(one.text, (begun_s + one.start_s) / self._speed, (begun_s + one.end_s) / self._speed, one.probability)
            for one in words
        ]

    async def whole(self, all_said: AsyncGenerator[Said, None], held: Share) -> bytes:
        """Return the sound and the times of all words as JSON. held: counts the sound. Raises Overloaded, too."""
        sound, words, counted = bytearray(), list[Word](), 0
        try:
            async with aclosing(self.parts(all_said)) as parts:
                async for part in parts:
                    if isinstance(part, bytes):
                        held.hold(COPIES * len(part))
                        counted += COPIES * len(part)
                        sound += part
                    else:
                        words += part
                        await paced()
            return await asyncio.to_thread(self._json, bytes(sound), words)
        finally:  # the response counts its own bytes
            held.give_back(counted)

    def _json(self, sound: bytes, words: Sequence[Word]) -> bytes:
        told = {
            "audio": base64.b64encode(sound).decode("ascii"),
            "audio_format": FORMATS[self._kind].media_type,
            "timestamps": _timestamps(words),
        }
        return json.dumps(told).encode()

    async def lines(self, all_said: AsyncGenerator[Said, None]) -> AsyncGenerator[bytes, None]:
        """Yield lines of JSON: each clause with its words, or the sound as it comes if their times are not wanted. An
        error before the first line is raised; a later one becomes a line."""
        sound, words, begun = bytearray(), list[Word](), False
        try:
            async with aclosing(self.parts(all_said)) as parts:
                async for part in parts:
                    if isinstance(part, bytes):
                        sound += part
                        if self._timing is not None:
                            continue
                    else:
                        words += part
                    if sound:  # an encoder can hold back all of a short clause
                        yield await self._line(sound, words)
                        begun = True
            if sound or words:
                yield await self._line(sound, words)
        except ParleyError as error:
            if not begun:
                raise
            yield json.dumps(as_json(error)).encode() + b"\n"

    async def _line(self, sound: bytearray, words: list[Word]) -> bytes:
        """Return a line, and empty what it contains."""
        line = await asyncio.to_thread(self._json, bytes(sound), [*words])
        sound.clear()
        words.clear()
        return line + b"\n"

    async def events(self, all_said: AsyncGenerator[Said, None], text: str) -> AsyncGenerator[bytes, None]:
        """Yield the sound and the words as events. An error before the first sound is raised; a later one becomes an
        event."""
        sent = 0
        try:
            async with aclosing(self.parts(all_said)) as parts:
                async for part in parts:
                    if isinstance(part, bytes):
                        sent += len(part)
                        yield sse({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode("ascii")})
                    else:
                        yield sse({"type": "speech.audio.timestamps", "timestamps": _timestamps(part)})
        except ParleyError as error:
            if not sent:
                raise
            yield sse(as_openai(error))
            return
        yield sse({"type": "speech.audio.done", "usage": _usage(text, sent)})


def _usage(text: str, size: int) -> JsonObject:
    """Return the tokens of a text and of its encoded sound, of this many bytes.

    An estimate, because there is no tokenizer here: a token is about four characters of text or 50 ms of sound.
    """
    spoken, said = max(1, len(text) // 4), max(1, size // 400)
    return {"input_tokens": spoken, "output_tokens": said, "total_tokens": spoken + said}


def _timestamps(words: Sequence[Word]) -> list[JsonObject]:
    return [
        {"word": word.text, "start_time": round(word.start_s, 3), "end_time": round(word.end_s, 3)} for word in words
    ]
