"""`python main.py talk FILE…`: whole turns with recorded questions, in one conversation."""

import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

import typer

from commands.start import (
    JsonOption,
    LanguageOption,
    VoiceOption,
    load_clip,
    load_settings,
    progress_bar,
    refuse,
    run,
    write_wav,
)
from pipeline.assistant import Assistant, open_assistant
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.errors import ParleyError
from pipeline.settings import Settings


def talk(
    files: Annotated[list[Path] | None, typer.Argument(help="Recorded questions, asked one after another.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the spoken replies to this WAV.")] = None,
    voice: VoiceOption = "",
    language: LanguageOption = "",
    system: Annotated[str, typer.Option(help="System prompt of this conversation.")] = "",
    mic: Annotated[bool, typer.Option("--mic", help="Converse with the microphone (needs the extra `mic`).")] = False,
    half_duplex: Annotated[
        bool, typer.Option("--half-duplex", help="With --mic: do not listen while the assistant speaks (loudspeakers).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask with recorded speech (or the microphone); print the transcript, the reply, and the turn's timings."""
    settings = load_settings()
    if mic:
        from commands.mic import converse

        run(settings, converse(settings, voice=voice, language=language, system=system, half_duplex=half_duplex))
    elif files:
        run(settings, _talk(settings, files, output, voice, language, system, as_json))
    else:
        raise refuse("Give one or more recordings, or --mic.")


async def _talk(
    settings: Settings, files: list[Path], output: Path | None, voice: str, language: str, system: str, as_json: bool
) -> None:
    questions = [await load_clip(path, settings) for path in files]
    async with progress_bar() as report, open_assistant(settings, report) as assistant:
        conversation = assistant.conversation(system or None)
        replies: list[Clip] = []
        for path, question in zip(files, questions, strict=True):
            told, speech = await _turn(assistant, conversation, question, voice, language)
            if as_json:
                print(json.dumps({"file": str(path), **told}, ensure_ascii=False))
            else:
                print(f"you:    {told['transcription']}\nparley: {told['llama']}")
                if "speech_error" in told:
                    print(f"        not spoken: {told['speech_error']}")
                print("        " + ", ".join(f"{name} {ms:g} ms" for name, ms in told["timings_ms"].items()))
            replies += speech
        if output is not None and replies:
            await write_wav(output, Clip.join(replies, replies[0].rate_hz))


class Told(TypedDict):
    """A turn as `--json` prints it."""

    transcription: str
    language: str | None
    llama: str
    timings_ms: dict[str, float]
    speech_error: NotRequired[str]


async def _turn(
    assistant: Assistant, conversation: Conversation, question: Clip, voice: str, language: str
) -> tuple[Told, list[Clip]]:
    """Run one turn; return its texts and times, and its speech."""
    told: Told = {"transcription": "", "language": None, "llama": "", "timings_ms": {}}
    speech: list[Clip] = []
    answer = assistant.answer(question, conversation, voice=assistant.voice(voice), language=language or None)
    async with aclosing(answer) as happenings:
        async for event in happenings:
            match event:
                case events.TranscriptFinal(text, spoken):
                    told["transcription"], told["language"] = text, spoken
                case events.SpeechChunk(clip):
                    speech.append(clip)
                case events.StageError(_, message):
                    told["speech_error"] = message
                case events.TurnCompleted(reply, timings):
                    told["llama"], told["timings_ms"] = reply.strip(), dict(timings)
                case events.TurnFailed(code, message):
                    raise ParleyError(message, code=code)
                case _:
                    pass
    return told, speech
