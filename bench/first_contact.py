"""The first questions of a newcomer: how many are heard right, and how many get a sensible reply, before and after.

    python -m bench.first_contact --llm FOLDER [--typed-only]

before: PocketSphinx and the built-in responder. after: Whisper tiny.en with the built-in responder, and with the
language model in FOLDER (as LOCAL_LLM). The questions are spoken by Kokoro, in three voices. A reply is sensible if it
contains one of the words that belong to the question. The typed questions go to both responders.
"""

import argparse
import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from bench.newcomer import SPOKEN, TYPED
from bench.wer_whisper import plain
from pipeline import stt, tts
from pipeline.assistant import open_tts
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.turn import Stages, Turn
from pipeline.engines import open_named
from pipeline.llm import ENGINES as LANGUAGE_MODELS
from pipeline.llm import Generation, LanguageModel
from pipeline.settings import Settings
from pipeline.stt import ENGINES as RECOGNISERS
from pipeline.stt import SpeechToText, Transcript
from pipeline.support.local_time import local_time
from pipeline.support.progress import Progress
from pipeline.tools import Toolbox
from pipeline.tools.basic import basic
from pipeline.voices.catalogue import Voices
from tests.scripted import VOICE, ScriptedSTT, ScriptedTTS

VOICES = ("man", "woman", "bm_george")
PATIENT_S = 300.0
"""Timeout of the engines, because the machine can be busy."""
REPEATED = "I heard: "
"""Start of the built-in responder's reply to a question that it does not know."""


@dataclass
class Count:
    """Results of one deployment."""

    heard: int = 0
    sensible: int = 0


def quiet(progress: Progress) -> None:
    pass


async def speech(settings: Settings) -> dict[str, Clip]:
    """Return the spoken questions, the voices alternating."""
    voices = Voices.load(settings)
    found: dict[str, Clip] = {}
    async with open_tts(settings, quiet) as running:
        voices.add_built_in(running.voices)
        for index, text in enumerate(SPOKEN):
            voice = voices.get(VOICES[index % len(VOICES)])
            clips = [clip async for clip in running.engine.speak(text, voice=voice, language="en")]
            pause = Clip(0 * clips[0].samples[: clips[0].rate_hz // 4], clips[0].rate_hz)
            found[text] = Clip.join([pause, *clips, pause], clips[0].rate_hz).at(16_000)
    return found


async def heard(stt: SpeechToText, spoken: dict[str, Clip]) -> dict[str, str]:
    return {
        text: (await stt.transcribe(clip, language="en", prompt=None, words=False)).text
        for text, clip in spoken.items()
    }


async def reply(llm: LanguageModel, settings: Settings, asked: Sequence[str]) -> str:
    """Return the reply to the last of these questions, asked in one conversation as the service asks them: with its
    system prompt, date and time, and functions."""
    options = ReplyOptions(aloud=False, tools=Toolbox(basic(local_time)), generation=Generation(temperature=0.0))
    stages = Stages(ScriptedSTT(), llm, ScriptedTTS())
    turn = Turn(stages, settings, voice=VOICE, language=None, reply_options=options)
    conversation, said = Conversation(settings.system_prompt, budget_tokens=settings.history_tokens), ""
    for question in asked:
        async with aclosing(turn.run(Transcript(question, None, 0.0), conversation)) as happenings:
            [said] = [event.reply async for event in happenings if isinstance(event, events.TurnCompleted)]
        conversation.record(question, None, said)
    return said


async def judge(
    name: str, llm: LanguageModel, settings: Settings, wanted: dict[str, str], transcripts: dict[str, str]
) -> Count:
    """Ask each question as it was heard; print the failures."""
    count = Count()
    for question, pattern in wanted.items():
        text = transcripts[question]
        right = plain(text) == plain(question)
        before = ["tell me a joke"] if question == "another one" else []
        said = await reply(llm, settings, [*before, text]) if text else ""
        sensible = not said.startswith(REPEATED) and bool(re.search(pattern, said, re.IGNORECASE))
        count.heard += right
        count.sensible += sensible
        if not (right and sensible):
            print(f"{name}: {question!r} heard as {text!r}: {said[:100]!r}{'' if sensible else ' (not sensible)'}")
    return count


async def measure(options: argparse.Namespace) -> None:
    settings = Settings(llm_max_tokens=60, local_llm=options.llm, whisper_model=options.whisper)
    stt.TIMEOUT_S = tts.TIMEOUT_S = PATIENT_S
    typed = {text: text for text in TYPED}
    spoken: dict[str, Clip] = {}
    transcripts: dict[str, dict[str, str]] = {}
    if not options.typed_only:
        spoken = await speech(settings.model_copy(update={"tts_engine": "kokoro", "tts_model": options.kokoro}))
        for engine in ("sphinx", "whisper"):
            async with open_named("stt", RECOGNISERS, engine, settings, quiet) as recogniser:
                transcripts[engine] = await heard(recogniser.engine, spoken)
    rows = []
    for model in ("builtin", *(["local"] if options.llm else [])):
        async with open_named("llm", LANGUAGE_MODELS, model, settings, quiet) as llm:
            for engine, texts in transcripts.items():
                name = f"spoken, {engine} + {model}"
                count = await judge(name, llm.engine, settings, SPOKEN, texts)
                rows.append(f"{name}: {count.heard} of {len(SPOKEN)} heard right, {count.sensible} sensible replies")
            count = await judge(f"typed, {model}", llm.engine, settings, TYPED, typed)
            rows.append(f"typed, {model}: {count.sensible} of {len(TYPED)} sensible replies")
    print("", *rows, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", default="", help="a folder for LOCAL_LLM; without it, only the built-in responder")
    parser.add_argument("--whisper", default="models/whisper-tiny.en")
    parser.add_argument("--kokoro", default="models/kokoro-82m")
    parser.add_argument("--typed-only", action="store_true")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
