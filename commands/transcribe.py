"""`python main.py transcribe FILE…`: what was said in recordings."""

from pathlib import Path
from typing import Annotated, Any

import typer

from commands.start import JsonOption, LanguageOption, load_clip, load_settings, print_rows, progress_bar, run
from pipeline.assistant import open_stt
from pipeline.settings import Settings


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings in any format.")],
    language: LanguageOption = "",
    words: Annotated[bool, typer.Option("--words", help="With the time of each word (in JSON).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what was said in recordings."""
    settings = load_settings()
    run(settings, _transcribe(settings, files, language or settings.speech_language or None, words, as_json))


async def _transcribe(settings: Settings, files: list[Path], language: str | None, words: bool, as_json: bool) -> None:
    clips = [await load_clip(path, settings) for path in files]
    rows: list[dict[str, Any]] = []
    async with progress_bar() as report, open_stt(settings, report) as running:
        for path, clip in zip(files, clips, strict=True):
            heard = await running.engine.transcribe(clip, language=language, prompt=None, words=words)
            row: dict[str, Any] = {
                "file": str(path),
                "language": heard.language,
                "seconds": round(clip.seconds, 2),
                "text": heard.text,
            }
            if words and as_json:
                row["words"] = [{"word": w.text, "start": w.start_s, "end": w.end_s} for w in heard.words]
            rows.append(row)
    print_rows(rows, as_json=as_json)
