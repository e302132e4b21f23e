"""Measurements that need a GPU: Whisper large-v3 in batches, XTTS in several precisions.

    python -m bench.gpu [--whisper-size large-v3] [--seconds 2 10 20]

Random weights at the real sizes. Without a GPU, or without the extra `xtts`, it reports what is missing, and measures
the rest.
"""

import argparse
import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.rows import Rows
from bench.xtts import TEXT, timed
from pipeline.workers.hardware import detect
from tests.builders.xtts import FULL, build_xtts


def whisper(size: str) -> None:
    """Measure the served recogniser against faster-whisper with a lock, in half precision with and without int8."""
    for compute_type in ("float16", "int8_float16"):
        subprocess.run(
            [sys.executable, "-m", "bench.whisper_batch", "--size", size, "--device", "cuda", "--batch", "16",
             "--compute-type", compute_type],
            check=False,
        )  # fmt: skip


def xtts(seconds: list[float]) -> None:
    """Measure our stream in float32, in half precision (autocast), and with a compiled vocoder (CUDA graphs)."""
    import torch

    from pipeline.tts.xtts_config import XttsConfig
    from pipeline.tts.xtts_engine import Xtts, _synthesise

    rows = Rows("variant                 ", "speech", "first sound", "total", "real-time factor")
    with tempfile.TemporaryDirectory() as folder:
        built = build_xtts(Path(folder) / "model", size=FULL)
        engine = Xtts(XttsConfig(str(built), folder, "cuda"))
        model = engine._model
        voice = engine._voices.of_speaker("Ana Florence")
        tokens = model.tokenizer.encode(TEXT, lang="en")

        def half() -> AbstractContextManager[Any]:
            return torch.autocast("cuda", torch.float16)

        def measure(name: str, precision: Callable[[], AbstractContextManager[Any]]) -> None:
            def stream() -> Iterator[Any]:
                with precision():
                    yield from _synthesise(model, tokens, voice)

            timed(stream(), engine.rate_hz, seconds[0], time.perf_counter)  # kernels are chosen and compiled here
            for length in seconds:
                run = timed(stream(), engine.rate_hz, length, time.perf_counter)
                rows.add(
                    name, f"{length:g} s", f"{run.first_s:.3f} s", f"{run.total_s:.2f} s", f"{run.total_s / length:.2f}"
                )

        measure("float32", contextlib.nullcontext)
        measure("float16", half)
        decoder = model.hifigan_decoder
        decoder.waveform_decoder = torch.compile(decoder.waveform_decoder, mode="reduce-overhead", dynamic=True)
        measure("float16, vocoder compiled", half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whisper-size", default="large-v3")
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 10.0, 20.0])
    options = parser.parse_args()
    found = detect()
    print(found.summary)
    missing = []
    if found.cuda:
        whisper(options.whisper_size)
    else:
        missing.append("CTranslate2 finds no CUDA device: Whisper is not measured.")
    if any(importlib.util.find_spec(package) is None for package in ("torch", "TTS")):
        missing.append("coqui-tts is not installed (make install EXTRAS=xtts): XTTS is not measured.")
    else:
        import torch

        if torch.cuda.is_available():
            xtts(options.seconds)
        else:
            missing.append("torch finds no CUDA device (is it the CPU build?): XTTS is not measured.")
    for sentence in missing:
        print(sentence)


if __name__ == "__main__":
    main()
