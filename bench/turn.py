"""Time to first audio of a turn: overlapped, as in Parley, against transcribing, then the whole reply, then all speech.

python -m bench.turn          scripted stages on a real clock: 1, 3 and 8 sentences at 20 and 60 tokens a second
python -m bench.turn --real   the embedded engines as well

Sequential means that the reply is sent when all of its speech is complete ("whole"). "Streamed" is the first chunk of
the same order when at least its speech is streamed. One call speaks the whole reply, which is its best case. Overhead
is the turn's time beyond its critical path, which is the same turn on a clock that only the scripted waits of the
stages advance.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.assistant import open_assistant
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.conversation.turn import Stages, Turn
from pipeline.llm import AS_SET, Generation, Message, ReplyDelta, Tool, Usage
from pipeline.settings import Settings
from pipeline.speech.normalise import for_voice
from pipeline.voices.catalogue import Voice
from tests import virtual_time
from tests.questions import spoken
from tests.scripted import RATE_HZ, VOICE, ScriptedLLM, ScriptedSTT, ScriptedTTS

SENTENCES = (
    "The heron stands quite still at the edge of the pond.", "It waits there for a small and careless fish.",
    "Nothing else in the garden seems to move at all.", "Then it strikes, as fast as a sudden thought.",
    "The water closes over the place without a sound.", "A moment later the bird is still once more.",
    "You could believe that nothing has happened there.", "Only the rings on the water tell the story.",
)  # fmt: skip
SENTENCE_COUNTS, SPEEDS, RUNS = (1, 3, 8), (20.0, 60.0), 5
MIN_SOONER, MAX_OVERHEAD = 4.0, 0.05
QUESTIONS = {"what is seven plus five": "a sum", "tell me a story": "a story"}


class SteadyLLM(ScriptedLLM):
    """Keeps its pace on average: late wake-ups of this machine do not add up."""

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.first_token_s
        words = self.reply_text.split()
        for i, word in enumerate(words):
            await asyncio.sleep(due - loop.time())
            due += 1 / self.tokens_per_s
            yield ReplyDelta(word if i == 0 else " " + word)
        yield ReplyDelta("", Usage(10, len(words)))


class SteadyTTS(ScriptedTTS):
    """Keeps its pace on average, too: the first chunk comes after `first_s`, all chunks after `rtf` times their length
    more.
    """

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        loop = asyncio.get_running_loop()
        due, chunk_s = loop.time() + self.first_s, 0.08
        for _ in range(max(1, round(len(text) * 0.06 / chunk_s))):
            await asyncio.sleep(due - loop.time())
            due += chunk_s * self.rtf
            yield Clip(np.full(int(chunk_s * RATE_HZ), 0.1, np.float32), RATE_HZ)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since the utterance was complete."""

    first_audio: float
    end: float


async def overlapped(stages: Stages, settings: Settings, question: Clip, voice: Voice) -> Times:
    """The turn as Parley runs it."""
    loop = asyncio.get_running_loop()
    start, first = loop.time(), 0.0
    turn = Turn(stages, settings, voice=voice, language=None)
    async with aclosing(turn.run(question, Conversation("", budget_tokens=1000))) as happenings:
        async for event in happenings:
            if isinstance(event, events.SpeechChunk) and not first:
                first = loop.time() - start
    assert isinstance(event, events.TurnCompleted), event
    return Times(first, loop.time() - start)


async def sequential(stages: Stages, question: Clip, voice: Voice) -> Times:
    """One stage after the other; `first_audio` is the first chunk of the speech, `end` the last."""
    loop = asyncio.get_running_loop()
    start, first = loop.time(), 0.0
    heard = await stages.stt.transcribe(question, language=None, prompt=None, words=False)
    asked = Conversation("", budget_tokens=1000).prompt(heard.text, heard.language)
    async with aclosing(stages.llm.reply(asked)) as deltas:
        reply = "".join([delta.text async for delta in deltas])
    said = for_voice(reply, heard.language)
    async with aclosing(stages.tts.speak(said, voice=voice, language=heard.language)) as clips:
        async for _ in clips:
            first = first or loop.time() - start
    return Times(first, loop.time() - start)


def scripted(sentences: int, tokens_per_s: float) -> Stages:
    reply = " ".join(SENTENCES[:sentences])
    return Stages(ScriptedSTT(), SteadyLLM(reply, tokens_per_s=tokens_per_s), SteadyTTS())


def median(times: Sequence[Times]) -> Times:
    return Times(statistics.median(t.first_audio for t in times), statistics.median(t.end for t in times))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def compare_scripted(console: Console) -> bool:
    """Print the table; return whether both targets are met."""
    question, settings = Clip(np.zeros(16_000, np.float32), 16_000), Settings()
    table = Table(
        "sentences", "tokens/s", "whole", "streamed", "overlapped", "sooner", "sequential", "overlapped", "sooner",
        "overhead first / end", title=f"Scripted stages, median of {RUNS}, ms: first audio | end | critical path",
    )  # fmt: skip
    good = True
    for tokens_per_s in SPEEDS:
        for sentences in SENTENCE_COUNTS:

            async def runs(sentences: int = sentences, tokens_per_s: float = tokens_per_s) -> tuple[Times, Times]:
                stages = scripted(sentences, tokens_per_s)
                ours = [await overlapped(stages, settings, question, VOICE) for _ in range(RUNS)]
                plain = [await sequential(stages, question, VOICE) for _ in range(RUNS)]
                return median(ours), median(plain)

            path = virtual_time.run(overlapped(scripted(sentences, tokens_per_s), settings, question, VOICE))
            ours, plain = asyncio.run(runs())
            over_first, over_end = ours.first_audio / path.first_audio - 1, ours.end / path.end - 1
            table.add_row(
                str(sentences), f"{tokens_per_s:g}",
                ms(plain.end), ms(plain.first_audio), ms(ours.first_audio),
                f"{plain.end / ours.first_audio:.1f} × ({plain.first_audio / ours.first_audio:.1f} × streamed)",
                ms(plain.end), ms(ours.end), f"{plain.end / ours.end:.2f} ×",
                f"{over_first:.1%} / {over_end:.1%}",
            )  # fmt: skip
            good = good and max(over_first, over_end) <= MAX_OVERHEAD
            good = good and (sentences < SENTENCE_COUNTS[-1] or plain.end / ours.first_audio >= MIN_SOONER)
    console.print(table)
    return good


async def compare_real(console: Console) -> None:
    """Compare in the same way on the embedded engines, without targets."""
    settings = Settings(stt_engine="sphinx", llm_engine="builtin", tts_engine="espeak")
    table = Table(
        "question", "transcript", "whole", "streamed", "overlapped", "sequential", "overlapped",
        title=f"Embedded engines (sphinx, builtin, eSpeak), median of {RUNS}, ms: first audio | end",
    )  # fmt: skip
    async with open_assistant(settings) as assistant:
        voice = assistant.voice()
        for text, name in QUESTIONS.items():
            question = spoken(text)
            start = time.perf_counter()
            await assistant.stages.stt.transcribe(question, language=None, prompt=None, words=False)
            transcript_s = time.perf_counter() - start
            both = [  # alternating, because the machine's load varies
                (
                    await overlapped(assistant.stages, settings, question, voice),
                    await sequential(assistant.stages, question, voice),
                )
                for _ in range(RUNS)
            ]
            ours, plain = median([pair[0] for pair in both]), median([pair[1] for pair in both])
            table.add_row(
                name, ms(transcript_s),
                ms(plain.end), ms(plain.first_audio), ms(ours.first_audio), ms(plain.end), ms(ours.end),
            )  # fmt: skip
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="with the embedded engines as well")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    good = compare_scripted(console)
    console.print(
        f"Targets: first audio {MIN_SOONER:g} × sooner at {SENTENCE_COUNTS[-1]} sentences; "
        f"overhead at most {MAX_OVERHEAD:.0%}: {'met' if good else 'MISSED'}"
    )
    if options.real:
        asyncio.run(compare_real(console))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
