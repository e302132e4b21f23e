"""`python main.py transcribe FILE…`: transcripts of recordings of any length, as text or as files."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from commands.start import JsonOption, LanguageOption, load_settings, print_rows, progress_bar, run
from pipeline.assistant import open_stt
from pipeline.errors import BadInput
from pipeline.settings import Settings
from pipeline.stt import FileRequest
from pipeline.transcripts.long_files import Progress
from pipeline.transcripts.refine import Refining
from pipeline.transcripts.subtitles import Layout, render
from pipeline.transcripts.transcriber import Transcriber, TranscriptionRequest, open_transcriber
from pipeline.transcripts.transcription import Transcription

Format = Literal["txt", "srt", "vtt", "tsv", "lrc", "json"]


@dataclass(frozen=True, slots=True)
class _Wanted:
    request: TranscriptionRequest
    format: Format | None
    folder: Path | None
    layout: Layout


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings in any format, including videos.")],
    language: LanguageOption = "",
    model: Annotated[str, typer.Option(help="A size of Whisper, an id of GET /models or a folder's name.")] = "",
    prompt: Annotated[str, typer.Option(help="Names and style to expect.")] = "",
    keyword: Annotated[
        list[str] | None, typer.Option("--keyword", help="A name or word to expect; can be repeated.")
    ] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Translate into English.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Include the time of each word (in JSON).")] = False,
    align: Annotated[bool, typer.Option("--align", help="Word times by forced alignment.")] = False,
    diarize: Annotated[bool, typer.Option("--diarize", help="Tell speakers apart.")] = False,
    min_speakers: Annotated[int | None, typer.Option(min=1, max=50)] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, max=50)] = None,
    format: Annotated[Format | None, typer.Option(help="Format of the transcript.")] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", help="Write a file for each recording there, instead of to stdout."),
    ] = None,
    line_width: Annotated[int, typer.Option(min=0, max=500, help="Columns of a subtitle's line; 0: unbroken.")] = 0,
    max_lines: Annotated[int, typer.Option(min=1, max=10, help="Lines of a subtitle.")] = 2,
    highlight_words: Annotated[
        bool, typer.Option("--highlight-words", help="Highlight words in srt, vtt and lrc.")
    ] = False,
    track: Annotated[int | None, typer.Option(min=0, help="Audio track of a video, from 0.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the transcripts of recordings, or write them as subtitles."""
    settings = load_settings()
    timed = words or align or diarize or highlight_words or bool(line_width)
    recognition = FileRequest(
        language or settings.speech_language or None, prompt or None, timed, translate, keywords=tuple(keyword or ())
    )
    refining = Refining(align, diarize, min_speakers, max_speakers)
    wanted = _Wanted(
        TranscriptionRequest(recognition, refining, model, track=track),
        format or ("srt" if output_dir else None),
        output_dir,
        Layout(line_width, max_lines, highlight_words=highlight_words),
    )
    run(settings, _transcribe(settings, files, wanted, words=words, as_json=as_json))


async def _transcribe(settings: Settings, files: list[Path], wanted: _Wanted, *, words: bool, as_json: bool) -> None:
    for path in files:
        if not path.is_file():
            raise BadInput(f"{path}: file not found.", code="bad_audio")
    rows: list[dict[str, object]] = []
    async with AsyncExitStack() as stack:
        report = await stack.enter_async_context(progress_bar())
        own = await stack.enter_async_context(open_stt(settings, report))
        transcriber = await stack.enter_async_context(open_transcriber(settings, own))
        await transcriber.check(wanted.request.refining)
        for path in files:
            found = await _heard(path, transcriber, wanted.request)
            if wanted.format is None:
                rows.append(_row(path, found, words=words and as_json))
                continue
            text = render(wanted.format, found.segments, layout=wanted.layout, language=found.language)
            if wanted.folder is None:
                print(text, end="" if text.endswith("\n") else "\n")
            else:
                await _write(wanted.folder / f"{path.stem}.{wanted.format}", text)
    if wanted.format is None:
        print_rows(rows, as_json=as_json)


async def _heard(path: Path, transcriber: Transcriber, wanted: TranscriptionRequest) -> Transcription:
    """Transcribe one file. Raises BadInput with the file's name."""
    try:
        with path.open("rb") as file, _bar(path) as report:
            return await transcriber.transcribe(file, wanted, report)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", code="bad_audio") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", code=error.code) from None


@contextmanager
def _bar(path: Path) -> Iterator[Callable[[Progress], None]]:
    """Show the progress on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(path.name, total=None)
        yield lambda step: bar.update(task, completed=step.done_s, total=step.total_s)


def _row(path: Path, found: Transcription, *, words: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "file": str(path),
        "language": found.language,
        "seconds": round(found.duration_s, 2),
        "text": found.text,
    }
    if words:
        row["words"] = [
            {"word": word.text, "start": word.start_s, "end": word.end_s, "speaker": segment.speaker}
            if segment.speaker
            else {"word": word.text, "start": word.start_s, "end": word.end_s}
            for segment in found.segments
            for word in segment.words
        ]
    return row


async def _write(path: Path, text: str) -> None:
    """Write a text file. Raises BadInput with the file's name if that fails."""
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(path.write_text, text, "utf-8")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    print(path)
