"""Word error rate and CPU time of a Whisper by beam size and encoded length, and its words in sound without speech.

    python -m bench.wer_whisper MODEL FOLDER [--beams 1 5] [--contexts 30 10] [--threads 1] [--unspoken-s 600]

MODEL: a folder with a CTranslate2 model. FOLDER/manifest.json: a list of {"file", "text", "language"}: recordings and
their spoken text; those without a text or longer than 30 s are left out. Numbers count as equal in digits and in words.
--unspoken-s: seconds of silence, noise, music and breath (synthesised, in pieces of 2 to 15 s) that are transcribed as
utterances without the voice activity detection before them; each word in the result is invented.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
from num2words import num2words

from bench.rows import Rows
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode_blocking
from pipeline.stt import FileRequest
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.worker_client import last

RATE_HZ = 16_000
LONGEST_S = 30.0


def plain(text: str) -> str:
    """Return the words in lower case, without punctuation, numbers in words."""
    text = re.sub(r"\d+(?:st|nd|rd|th)?", _spelled, text.lower().replace("mr.", "mister"))
    return " ".join("".join(char if char.isalnum() or char in " '" else " " for char in text).split())


def _spelled(found: re.Match[str]) -> str:
    digits = found.group().rstrip("stndrh")
    year = len(digits) == 4 and digits[1] != "0"
    kind = "ordinal" if digits != found.group() else "year" if year else "cardinal"
    return f" {num2words(int(digits), to=kind)} "


def load(folder: Path) -> list[tuple[str, str, Clip]]:
    found = []
    for entry in json.loads((folder / "manifest.json").read_text("utf-8")):
        if entry.get("text"):
            clip = decode_blocking((folder / entry["file"]).read_bytes(), max_seconds=600)
            if clip.seconds <= LONGEST_S:
                found.append((plain(entry["text"]), entry["language"], clip))
    return found


def unspoken(total_s: float, seed: int = 0) -> Iterator[tuple[str, Clip]]:
    """Yield (kind, clip) of sounds without speech, of 2 to 15 s, until there are `total_s` seconds."""
    rng = np.random.default_rng(seed)
    done_s = 0.0
    while done_s < total_s:
        for kind in ("silence", "white", "pink", "brown", "music", "breath"):
            seconds = float(rng.uniform(2, 15))
            loudness = float(10 ** rng.uniform(-2.5, -0.7))
            done_s += seconds
            yield kind, Clip(_sound(kind, int(seconds * RATE_HZ), rng, loudness), RATE_HZ)


def _sound(kind: str, count: int, rng: np.random.Generator, loudness: float) -> Samples:
    time_s = np.arange(count) / RATE_HZ
    if kind == "silence":
        return (rng.standard_normal(count) * 1e-4 * (loudness > 0.03)).astype(np.float32)
    if kind == "music":
        sound = np.zeros(count)
        for start in range(0, count, RATE_HZ // 2):
            root = 110 * 2 ** (rng.integers(0, 24) / 12)
            part = time_s[start : start + RATE_HZ // 2]
            decay = np.exp(-3 * (part - part[0]))
            for step in (1.0, 1.26, 1.5, 2.0):
                sound[start : start + len(part)] += np.sin(2 * np.pi * root * step * part) * decay
    else:
        slope = {"white": 0.0, "pink": 0.5, "brown": 1.0, "breath": 0.3}[kind]
        spectrum = np.fft.rfft(rng.standard_normal(count))
        sound = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(count, 1 / RATE_HZ), 20) ** slope, count)
        if kind == "breath":
            sound *= np.maximum(0, np.sin(2 * np.pi * time_s / 3.5)) ** 2
    return (sound / max(1e-9, float(np.abs(sound).max())) * loudness).astype(np.float32)


def invented(engine: WhisperEngine, clip: Clip) -> str:
    """Return the text that the engine finds in a sound that it is made to decode."""
    return " ".join(one.text for one in engine.segments(clip, FileRequest(language="en")) if one is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--contexts", type=float, nargs="+", default=[30.0, 10.0])
    parser.add_argument("--unspoken-s", type=float, default=0.0)
    options = parser.parse_args()
    recordings = load(options.folder)
    said = [text for text, _, _ in recordings]
    rows = Rows("beam", "context", "recordings", "exact", "word errors", "CPU each", "invented words")
    for beam in options.beams:
        for context_s in options.contexts:
            ways = ((options.device, options.compute_type),)
            engine = WhisperEngine(WhisperConfig(str(options.model), ways, options.threads, beam, context_s))
            began = time.process_time()
            heard = [plain(last(engine.transcribe(clip, code, None, False)).text) for _, code, clip in recordings]
            each_s = (time.process_time() - began) / len(recordings)
            made_up = [(kind, text) for kind, clip in unspoken(options.unspoken_s) if (text := invented(engine, clip))]
            for kind, text in made_up:
                print(f"beam {beam}, {context_s:g} s: {kind}: {text}")
            rows.add(
                str(beam), f"{context_s:g} s", str(len(said)),
                str(sum(a == b for a, b in zip(said, heard, strict=True))), f"{jiwer.wer(said, heard):.1%}",
                f"{each_s * 1000:.0f} ms", str(sum(len(text.split()) for _, text in made_up)),
            )  # fmt: skip


if __name__ == "__main__":
    main()
