"""A translation on scripted stages and virtual time. Each word is a tone of its own loudness, so that the scripted
recogniser hears exactly the words whose sound it gets."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.llm import AS_SET, Generation, Message, ReplyDelta, Tool
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken, Transcript
from pipeline.translation import events
from pipeline.translation.events import TranslationEvent
from pipeline.translation.interpreter import Interpreter
from tests import virtual_time
from tests.dialogue import LoudIsSpeech, tone
from tests.scripted import VOICE, Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

RATE_HZ = 16_000
FRAME_MS = 20
WORD_MS = 300
QUIETEST, STEP = 0.1, 0.005
E = TypeVar("E", bound=TranslationEvent)


@dataclass
class HearingWords(ScriptedSTT):
    """Hears the word number n in sound of loudness QUIETEST + n * STEP, if at least half of it is there."""

    words: Sequence[str] = ()
    probability: float = 1.0
    heard_s: list[float] = field(default_factory=list)
    """Lengths of all clips."""

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        self.heard_s.append(clip.seconds)
        with self.running.call("stt"):
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            numbers = np.round((np.abs(clip.samples) - QUIETEST) / STEP).astype(int)
            count = RATE_HZ * WORD_MS // 1000
            heard = [word for n, word in enumerate(self.words) if np.count_nonzero(numbers == n) >= count / 2]
            return Transcript(
                " ".join(heard),
                language if isinstance(language, str) else self.language,
                clip.seconds,
                self.probability,
            )


@dataclass
class Translating(ScriptedLLM):
    """Translates a text into "Spanish(text)", or whatever the instruction asks for."""

    first_token_s: float = 0.1
    stalls_on: str = ""
    """A text that gets no translation."""
    fails_on: str = ""

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        text = messages[-1].content
        language = messages[0].content.partition("Translate each message into ")[2].partition(".")[0]
        self.asked.append(messages)
        with self.running.call("llm"):
            await asyncio.sleep(3600 if self.stalls_on and self.stalls_on in text else self.first_token_s)
            if self.fails_on and self.fails_on in text and self.error is not None:
                raise self.error
            for token in f"\n{language}({text}) ".split(" "):
                await asyncio.sleep(1 / self.tokens_per_s)
                yield ReplyDelta(f"{token} ")

    @property
    def sources(self) -> list[str]:
        """The texts to translate, in order."""
        return [messages[-1].content for messages in self.asked]


@dataclass
class Booth:
    """A translation under test. Times are seconds of virtual time since its start."""

    stt: HearingWords
    llm: Translating
    tts: ScriptedTTS
    running: Running
    log: list[tuple[float, TranslationEvent]] = field(default_factory=list)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared while the events are not read."""
    spoken: int = 0
    """Words that were spoken so far."""
    interpreter: Interpreter = field(init=False)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def emit(self, event: TranslationEvent) -> None:
        await self.reads.wait()
        self.log.append((self.now, event))

    async def speak(self, words: int) -> float:
        """Speak the next words, without a pause; return the time of the last sample."""
        for _ in range(words):
            await self._feed(WORD_MS, QUIETEST + self.spoken * STEP)
            self.spoken += 1
        return self.now

    async def silence(self, ms: int) -> float:
        await self._feed(ms, 0.0)
        return self.now

    async def _feed(self, ms: int, level: float) -> None:
        for _ in range(ms // FRAME_MS):
            await asyncio.sleep(FRAME_MS / 1000)
            await self.interpreter.hear(tone(RATE_HZ * FRAME_MS // 1000, level))

    async def until(self, condition: Callable[[], object], *, within_s: float = 60.0) -> None:
        """Wait without sound."""
        deadline = self.now + within_s
        while not condition():
            assert self.now < deadline, self.log
            await asyncio.sleep(0.01)

    def of(self, kind: type[E]) -> list[E]:
        return [event for _, event in self.log if isinstance(event, kind)]

    def at(self, kind: type[TranslationEvent]) -> float:
        """Time of the first event of this kind."""
        return next(at for at, event in self.log if isinstance(event, kind))

    @property
    def source(self) -> str:
        return "".join(event.text for event in self.of(events.SourceDelta))

    @property
    def translation(self) -> str:
        return "".join(event.text for event in self.of(events.TranslationDelta))

    @property
    def sound_s(self) -> float:
        return sum(event.clip.seconds for event in self.of(events.SpeechDelta))


def interpret(
    words: str,
    script: Callable[[Booth], Awaitable[object]],
    *,
    language: str = "es",
    finish: bool = True,
    stt: dict[str, Any] | None = None,
    llm: dict[str, Any] | None = None,
    tts: ScriptedTTS | None = None,
    **settings: Any,
) -> Booth:
    """Run a script, then finish the translation, or cancel it; afterwards nothing of it may still run. words: what the
    speaker can say. stt, llm: options of the scripted stages."""

    async def run() -> Booth:
        running = Running()
        booth = Booth(
            HearingWords(words=words.split(), running=running, **(stt or {})),
            Translating(running=running, **(llm or {})),
            tts or ScriptedTTS(),
            running,
        )
        booth.tts.running = running
        booth.reads.set()
        booth.interpreter = Interpreter(
            stt=booth.stt, reply=booth.llm.reply, tts=booth.tts, settings=Settings(**settings), activity=LoudIsSpeech(),
            voice=VOICE, language=language, emit=booth.emit,
        )  # fmt: skip
        working = asyncio.create_task(booth.interpreter.run())
        try:
            await script(booth)
            if finish:
                booth.interpreter.finish()
                await working
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        assert running.now == []
        return booth

    return virtual_time.run(run())
