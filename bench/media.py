"""The cost of decoding a short recording: Parley's decoder, and soundfile in the same process.

    python -m bench.media [--rounds 200]

3 s of sound in each format. WAV is read in Python; each other format uses a separate process.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import soundfile

from pipeline.audio.decode import decode_blocking, warm_up

SECONDS = 3.0
KINDS = (
    ("WAV, 16 kHz, 16 bits", 16_000, 1, "WAV", "PCM_16"), ("WAV, 48 kHz stereo, 16 bits", 48_000, 2, "WAV", "PCM_16"),
    ("WAV, 48 kHz stereo, float", 48_000, 2, "WAV", "FLOAT"), ("WAV, 48 kHz, 24 bits", 48_000, 1, "WAV", "PCM_24"),
    ("MP3, 44.1 kHz", 44_100, 1, "MP3", None), ("FLAC, 16 kHz", 16_000, 1, "FLAC", None),
    ("Ogg Opus, 48 kHz", 48_000, 1, "OGG", "OPUS"),
)  # fmt: skip


def milliseconds(work: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median, p95, and the minimum, which other programs on the machine disturb least."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1], min(taken)


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    warm_up()
    random = np.random.default_rng(0)
    print(f"{'3 s of':30} {'here, median':>14} {'p95':>8} {'best':>8} {'soundfile':>10} {'p95':>8} {'best':>8}   (ms)")
    for name, rate_hz, channels, format, subtype in KINDS:
        sound = 0.1 * random.standard_normal((int(SECONDS * rate_hz), channels)).astype(np.float32)
        out = io.BytesIO()
        soundfile.write(out, sound, rate_hz, format=format, subtype=subtype)
        data = out.getvalue()
        ours = milliseconds(lambda data=data: decode_blocking(data, max_seconds=10), rounds)  # type: ignore[misc]
        theirs = milliseconds(lambda data=data: soundfile.read(io.BytesIO(data), dtype="float32"), rounds)  # type: ignore[misc]
        print(
            f"{name:30} {ours[0]:14.2f} {ours[1]:8.2f} {ours[2]:8.2f} "
            f"{theirs[0]:10.2f} {theirs[1]:8.2f} {theirs[2]:8.2f}"
        )


if __name__ == "__main__":
    main()
