"""Stages with scripted text and pace that count their calls, for tests and for benchmarks of time."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.llm import AS_SET, Generation, Message, ReplyDelta, Tool, Usage
from pipeline.stt import FileRequest, Hinted, Segment, Spoken, Transcript, WindowLimits
from pipeline.voices.catalogue import Voice

VOICE = Voice("scripted")
RATE_HZ = 16_000


@dataclass(frozen=True)
class Call:
    """A finished stage call."""

    name: str
    began_s: float
    ended_s: float


@dataclass
class Running:
    """Stage calls that run now, and those made so far."""

    now: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    spans: list["Call"] = field(default_factory=list)
    """Finished calls with their times on the loop's clock."""

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        self.now.append(name)
        self.calls.append(name)
        began_s = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.now.remove(name)
            self.spans.append(Call(name, began_s, asyncio.get_running_loop().time()))


@dataclass
class ScriptedSTT:
    """Returns `text` as the transcript after `seconds`."""

    text: str = "what does the heron do"
    seconds: float = 0.08
    language: str | None = "en"
    error: Exception | None = None
    running: Running = field(default_factory=Running)
    limits: WindowLimits = field(default_factory=WindowLimits)
    requests: list[FileRequest] = field(default_factory=list)
    """The options of each call."""
    languages: Sequence[str] = ()
    """Languages that the service tells; empty: unknown."""
    translates: bool = True

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        self.requests.append(FileRequest.of(language, prompt, words))
        with self.running.call("stt"):
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return Transcript(self.text, language if isinstance(language, str) else self.language, clip.seconds)

    async def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        heard = await self.transcribe(window, language=request.language, prompt=None, words=False)
        self.requests[-1] = request
        yield Segment(0.0, window.seconds, heard.text, heard.language)


@dataclass
class ScriptedLLM:
    """Replies with `reply_text`, one word a token, the first after `first_token_s`, then at `tokens_per_s`."""

    reply_text: str = "The heron stands quite still. It waits for a small fish. Then it moves, fast as a thought."
    first_token_s: float = 0.12
    tokens_per_s: float = 60.0
    fail_after: int | None = None
    error: Exception | None = None
    running: Running = field(default_factory=Running)
    asked: list[Sequence[Message]] = field(default_factory=list)

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        self.asked.append(messages)
        with self.running.call("llm"):
            await asyncio.sleep(self.first_token_s)
            words = self.reply_text.split()
            for i, word in enumerate(words):
                if self.error is not None and i == (self.fail_after or 0):
                    raise self.error
                if i:
                    await asyncio.sleep(1 / self.tokens_per_s)
                yield ReplyDelta(word if i == 0 else " " + word)
            if self.error is not None and self.fail_after is not None and self.fail_after >= len(words):
                raise self.error
            yield ReplyDelta("", Usage(10, len(words)))


@dataclass
class ScriptedTTS:
    """Speaks 60 ms a character in chunks of 80 ms; the first after `first_s`, then at `rtf` of real time."""

    first_s: float = 0.04
    rtf: float = 0.1
    error: Exception | None = None
    fail_on: str | None = None
    running: Running = field(default_factory=Running)
    spoken: list[str] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    follows_instructions: bool = False
    reads_ipa: bool = False

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        with self.running.call("tts"):
            self.spoken.append(text)
            self.languages.append(language)
            await asyncio.sleep(self.first_s)
            if self.error is not None and (self.fail_on is None or self.fail_on in text):
                raise self.error
            seconds = len(text) * 0.06
            chunk_s = 0.08
            for i in range(max(1, round(seconds / chunk_s))):
                if i:
                    await asyncio.sleep(chunk_s * self.rtf)
                yield Clip(np.full(int(chunk_s * RATE_HZ), 0.1, np.float32), RATE_HZ)

    def speaks(self, language: str) -> bool:
        return True


@dataclass
class ScriptedTurnEnd:
    """Estimates that the user has finished with these probabilities, one a call, after `seconds`; the last repeats."""

    finished: Sequence[float | None] = (0.9,)
    seconds: float = 0.03
    asked: list[int] = field(default_factory=list)
    """Samples of each call."""

    async def probability(self, samples: Samples) -> float | None:
        self.asked.append(len(samples))
        await asyncio.sleep(self.seconds)
        return self.finished[min(len(self.asked), len(self.finished)) - 1]
