"""XTTS: the first sound and the whole of 2, 10 and 20 s of speech, ours against the library's own `inference_stream`,
on one model in the same run.

    python -m bench.xtts [--size long|full] [--int8] [--device cpu|cuda] [--threads 1] [--seconds 2 10 20]

`full` has XTTS v2's real sizes with random weights, which cost as much as the real ones. `long` has a tiny GPT before
the vocoder of full size, so that the vocoder dominates, in which the two streams differ. Neither model ends by itself:
both streams are stopped at the length. "A second": work per second of sound, in the first and in the last third, which
are equal if the cost of a chunk does not grow. On a CPU, times are this process's CPU time, which other load affects
little. On a GPU they are wall-clock time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rows import Rows
from tests.builders.xtts import FULL, LONG, build_xtts

TEXT = "the quick brown fox jumps over the lazy dog again and again and again."


@dataclass
class Run:
    """One stream: arrival time of each chunk (seconds from the start), and its length (seconds)."""

    came: list[float]
    lengths: list[float]

    @property
    def first_s(self) -> float:
        return self.came[0]

    @property
    def total_s(self) -> float:
        return self.came[-1]

    def cost(self, start: float, end: float) -> float:
        """Seconds of work per second of sound, between these fractions of the whole."""
        whole, heard = sum(self.lengths), 0.0
        work = sound = 0.0
        for index, length in enumerate(self.lengths):
            heard += length
            if index and start * whole < heard <= end * whole:
                work += self.came[index] - self.came[index - 1]
                sound += length
        return work / sound if sound else float("nan")


def timed(pieces: Iterator[Any], rate_hz: int, seconds: float, clock: Callable[[], float]) -> Run:
    run = Run([], [])
    began = clock()
    for piece in pieces:
        if len(piece):
            run.came.append(clock() - began)
            run.lengths.append(len(piece) / rate_hz)
            if sum(run.lengths) >= seconds:
                break
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["long", "full"], default="full")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 10.0, 20.0])
    options = parser.parse_args()

    import torch

    from pipeline.tts.xtts_config import XttsConfig
    from pipeline.tts.xtts_engine import Xtts, _synthesise

    precision = "int8" if options.int8 and options.device == "cpu" else "float32"
    print(f"XTTS {options.size}, {precision}, {options.device}, {options.threads} thread(s)")
    rows = Rows("speech", "stream          ", "first sound", "total", "a second: first third", "last third")
    with tempfile.TemporaryDirectory() as folder:
        size = FULL if options.size == "full" else LONG
        built = build_xtts(Path(folder) / "model", size=size)
        engine = Xtts(XttsConfig(str(built), folder, options.device, options.threads, precision))
        model, rate_hz = engine._model, engine.rate_hz
        voice = engine._voices.of_speaker("Ana Florence")
        tokens = model.tokenizer.encode(TEXT, lang="en")
        streams: dict[str, Callable[[], Iterator[Any]]] = {
            "inference_stream": lambda: model.inference_stream(TEXT, "en", voice.conditioning, voice.speaker),
            "ours": lambda: _synthesise(model, tokens, voice),
        }
        clock = time.process_time if options.device == "cpu" else time.perf_counter
        for seconds in options.seconds:
            totals = {}
            for name, stream in streams.items():
                torch.manual_seed(0)
                run = timed(stream(), rate_hz, seconds, clock)
                totals[name] = run.total_s
                rows.add(
                    f"{seconds:g} s", name, f"{run.first_s:.2f} s", f"{run.total_s:.1f} s", f"{run.cost(0, 1 / 3):.2f}",
                    f"{run.cost(2 / 3, 1.01):.2f}",
                )  # fmt: skip
            rows.add("", f"{totals['inference_stream'] / totals['ours']:.1f} times less")


if __name__ == "__main__":
    main()
