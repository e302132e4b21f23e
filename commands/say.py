"""`python main.py say TEXT -o speech.wav`: text into speech."""

import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from commands.start import JsonOption, VoiceOption, language_option, load_settings, progress_bar, run, write_wav
from pipeline.assistant import open_tts
from pipeline.audio.clip import Clip
from pipeline.errors import BadInput
from pipeline.settings import Settings
from pipeline.speech.synthesize import said
from pipeline.voices.catalogue import Voices


def say(
    text: Annotated[str, typer.Argument(help="The text to say.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The WAV file to write.")] = Path("speech.wav"),
    voice: VoiceOption = "",
    language: Annotated[
        str,
        typer.Option(
            callback=language_option,
            help="Language of the text, as a code or an English name. Default: SPEECH_LANGUAGE in its "
            "alphabet, or else detected.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Speak a text into a WAV file."""
    settings = load_settings()
    run(settings, _say(settings, text, output, voice, language, as_json))


async def _say(settings: Settings, text: str, output: Path, voice: str, language: str, as_json: bool) -> None:
    voices = Voices.load(settings)
    clips: list[Clip] = []
    async with progress_bar() as report, open_tts(settings, report) as running:
        voices.add_built_in(running.voices)
        chosen = voices.get(voice or settings.voice_name)
        speech = said(running.engine, text, voice=chosen, language=language or None, usual=settings.speech_language)
        async with aclosing(speech):
            clips += [one.clip async for one in speech]
    if not clips:
        raise BadInput("This text contains nothing to say.")
    whole = Clip.join(clips, clips[0].rate_hz)
    await write_wav(output, whole)
    told = {
        "file": str(output),
        "seconds": round(whole.seconds, 2),
        "engine": running.info.engine,
        "voice": chosen.name,
    }
    print(json.dumps(told) if as_json else f"{output}: {whole.seconds:.1f} s, {running.info.engine}, {chosen.name}")
