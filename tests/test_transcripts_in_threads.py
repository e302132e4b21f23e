"""Work on whole transcripts runs in threads: a recording of hours would stop all conversations of the process."""

import ast
import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from pipeline.stt import Segment, Word
from pipeline.transcripts import refine
from pipeline.transcripts.speakers import KnownSpeaker, SpeakerTurn
from pipeline.transcripts.speakers.assigning import with_names, with_speakers
from pipeline.transcripts.transcription import Transcription

ROOT = Path(__file__).parent.parent
LONG_WORK = {
    "_answer", "_body", "_segments", "_told", "_verbose", "as_document", "as_ttml",
    "diarized_json", "document_of", "download", "edited", "passages_of", "render", "segments_of", "store_form",
    "with_names", "with_speakers",
}  # fmt: skip
"""Functions that take a whole transcript."""


def direct_calls(coroutine: ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the names of the functions that a coroutine itself calls, not those in its inner functions."""
    waiting: list[ast.AST] = list(coroutine.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        waiting += ast.iter_child_nodes(node)


def blocking(text: str) -> set[str]:
    """Return the long work that coroutines in a module's text do on the event loop."""
    coroutines = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.AsyncFunctionDef))
    return {name for one in coroutines for name in direct_calls(one)} & LONG_WORK


PATHS = [
    *(ROOT / "jobs").rglob("*.py"), *(ROOT / "pipeline" / "transcripts").rglob("*.py"),
    *(ROOT / "server" / "jobs").rglob("*.py"), *(ROOT / "server" / "openai").glob("*.py"),
    *(ROOT / "server" / "transcribe").rglob("*.py"),
]  # fmt: skip


def test_no_coroutine_works_on_a_whole_transcript() -> None:
    found: dict[Path, set[str]] = {path: names for path in PATHS if (names := blocking(path.read_text("utf-8")))}
    assert found == {}


def test_calls_in_threads_are_not_counted() -> None:
    assert blocking("async def f(): return render(1)") == {"render"}
    assert blocking("async def f(): return await to_thread(render, 1)") == set()
    assert blocking("async def f(): return await to_thread(lambda: render(1))") == set()


def on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class OneSpeaker:
    """A diarizer that hears one speaker."""

    def __init__(self, name: str, *, recognises: bool) -> None:
        self.recognises = recognises
        self._name = name

    async def turns(self, *_: object) -> list[SpeakerTurn]:
        return [SpeakerTurn(0.0, 1.0, self._name)]


async def test_speakers_are_assigned_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def watched(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            seen.append((work.__name__, on_event_loop()))
            return work(*args)

        return call

    async def diarizer(*_: object) -> OneSpeaker:
        return OneSpeaker("x", recognises=False)

    class Voices:
        async def get(self) -> "Voices":
            return self

        engine = OneSpeaker("Ana", recognises=True)

    for work in (with_names, with_speakers):
        monkeypatch.setattr(refine, work.__name__, watched(work))
    refiners = refine.Refiners(Settings())
    monkeypatch.setattr(refiners, "_speakers", diarizer)
    monkeypatch.setattr(refiners, "_voices", Voices())
    known: Sequence[Any] = [KnownSpeaker("Ana", None)]  # type: ignore[arg-type]
    said = Transcription([Segment(0.0, 1.0, "Hi.", words=[Word("Hi.", 0.0, 1.0, 1.0)])], 1.0, "en")
    found = await refiners.refine(said, None, refine.Refining(diarize=True, known=known))  # type: ignore[arg-type]
    assert [one.speaker for one in found.segments] == ["Ana"]
    assert seen == [("with_names", False), ("with_speakers", False)]
