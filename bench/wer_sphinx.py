"""Word error rate of the embedded recogniser on recordings with transcripts, by group.

    python -m bench.wer_sphinx FOLDER

FOLDER/manifest.json: a list of {"file", "text", "language", "group" or "voice"}. Languages other than English and clips
without a text are left out. `captured`: clips with words outside the grammar that were transcribed as a sentence of it.
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import jiwer
from rich.console import Console
from rich.table import Table

from pipeline.audio.decode import decode_blocking
from pipeline.listening.vad import trim
from pipeline.llm.builtin import grammar
from pipeline.stt.sphinx import PAD_MS, SphinxConfig, SphinxEngine
from pipeline.stt.worker_client import last


@dataclass
class Group:
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    by_grammar: int = 0
    captured: int = 0
    sound_s: float = 0.0
    work_s: float = 0.0

    def add(self, other: "Group") -> None:
        self.said += other.said
        self.heard += other.heard
        self.by_grammar += other.by_grammar
        self.captured += other.captured
        self.sound_s += other.sound_s
        self.work_s += other.work_s


def plain(text: str) -> str:
    """Text as the recogniser writes it: lower case, no punctuation."""
    return " ".join("".join(char if char.isalpha() or char in " '" else " " for char in text.lower()).split())


def measure(folder: Path) -> dict[str, Group]:
    engine = SphinxEngine(SphinxConfig(grammar()))
    groups: dict[str, Group] = defaultdict(Group)
    for entry in json.loads((folder / "manifest.json").read_text()):
        if entry.get("language") != "en" or not entry.get("text"):
            continue
        clip = decode_blocking((folder / entry["file"]).read_bytes(), max_seconds=600)
        began = time.process_time()
        heard = last(engine.transcribe(clip, "en", None, False)).text
        work_s = time.process_time() - began
        sentence = engine.by_grammar(trim(clip, PAD_MS)[0].pcm16())
        won = sentence is not None and sentence.text == heard
        said = plain(entry["text"])
        group = groups[entry.get("group") or entry.get("voice", "all")]
        group.add(Group([said], [heard], int(won), int(won and heard != said), clip.seconds, work_s))
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    groups = measure(parser.parse_args().folder)
    total = Group()
    table = Table("group", "clips", "exact", "word errors", "by grammar", "captured", "real-time factor")
    for name, group in [*sorted(groups.items()), ("all", total)]:
        table.add_row(
            name, str(len(group.said)), str(sum(a == b for a, b in zip(group.said, group.heard, strict=True))),
            f"{jiwer.wer(group.said, group.heard):.1%}", str(group.by_grammar), str(group.captured),
            f"{group.work_s / group.sound_s:.2f}",
        )  # fmt: skip
        if group is not total:
            total.add(group)
    Console().print(table)


if __name__ == "__main__":
    main()
