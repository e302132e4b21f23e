"""Loss in accuracy and gain in time when a Whisper encodes less than its 30 s. Run it before you set WHISPER_CONTEXT_S.

    python -m bench.short_context MODEL FOLDER [--device cpu] [--compute-type int8] [--threads 1] [--limit 200]

MODEL: a folder with a CTranslate2 model. FOLDER/manifest.json: a list of {"file", "text", "language"}: recordings and
their spoken text. The setting is safe for a model when its word error rate does not grow.
"""

import argparse
import json
import time
from pathlib import Path

import jiwer

from bench.rows import Rows
from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.stt.whisper import WhisperConfig, WhisperEngine
from pipeline.stt.worker_client import last

CONTEXTS_S = (30.0, 20.0, 15.0, 10.0)


def plain(text: str) -> str:
    return " ".join("".join(char if char.isalnum() or char in " '" else " " for char in text.lower()).split())


def load(folder: Path, limit: int) -> list[tuple[str, str | None, Clip]]:
    found = []
    for entry in json.loads((folder / "manifest.json").read_text()):
        if entry.get("text"):
            clip = decode_blocking((folder / entry["file"]).read_bytes(), max_seconds=600)
            if clip.seconds <= 30:
                found.append((plain(entry["text"]), entry.get("language"), clip))
    return found[:limit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    recordings = load(options.folder, options.limit)
    rows = Rows("context", "recordings", "exact", "word errors", "CPU each")
    for context_s in CONTEXTS_S:
        config = WhisperConfig(
            str(options.model), ((options.device, options.compute_type),), options.threads, 1, context_s
        )
        engine = WhisperEngine(config)
        began = time.process_time()
        heard = [plain(last(engine.transcribe(clip, language, None, False)).text) for _, language, clip in recordings]
        each_s = (time.process_time() - began) / len(recordings)
        said = [text for text, _, _ in recordings]
        exact = sum(a == b for a, b in zip(said, heard, strict=True))
        rows.add(
            f"{context_s:g} s", str(len(said)), str(exact), f"{jiwer.wer(said, heard):.1%}", f"{each_s * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
