"""Time from the end of the user's speech to the first sound of the reply, with real engines, in real time.

    python -m bench.real_turn AUDIO.wav --llm FOLDER [--tts kokoro piper] [--speakers 1 2 4 8] [--turns 3]

AUDIO: a recorded question, whose silence at both ends is cut. The engines are Whisper tiny.en, the language model in
FOLDER (as LOCAL_LLM, its replies cut at 32 tokens) and Kokoro or Piper. Each speaker asks again when the reply has been
played. The first sound includes the 500 ms of endpointing. CPU: seconds of the models' processes for a whole turn,
including the speech after the first sound.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

import numpy as np

from bench.rows import Rows
from bench.speaker import RATE_HZ, converse, percentile
from pipeline.audio.clip import Samples
from pipeline.audio.decode import decode_blocking
from tests.real_models import real_engines
from tests.server_process import ServerProcess, serving

WITHIN_S = 60.0
"""A reply that has not been played by then is missing."""


def question(file: Path) -> Samples:
    samples = decode_blocking(file.read_bytes(), max_seconds=60).at(RATE_HZ).samples
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + 1]


async def measure(server: ServerProcess, asked: Samples, speakers: int, turns: int, speculations: int) -> list[str]:
    """Return the cells of one row."""
    before = server.busy_s()
    heard = await asyncio.gather(
        *(
            converse(
                server.port, turns, wait_s=4 * number / speakers, asked=asked, within_s=WITHIN_S,
                speculations=speculations,
            )
            for number in range(speakers)
        )
    )  # fmt: skip
    first_s = [value for one in heard for value in one.first_audio_s]
    missing = sum(one.missing for one in heard)
    cpu_s = (server.busy_s() - before) / (speakers * turns)
    return [
        f"{percentile(first_s, 50) * 1000:.0f} ms", f"{percentile(first_s, 95) * 1000:.0f} ms", f"{cpu_s:.2f} s",
        str(missing),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--llm", type=Path, required=True)
    parser.add_argument("--tts", nargs="+", default=["kokoro", "piper"])
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    asked = question(options.audio)
    rows = Rows("voice", "speakers", "speculation", "first sound p50", "p95", "CPU a turn", "missing")
    for tts in options.tts:
        settings = real_engines(options.llm.resolve(), tts) | {"LLM_MAX_TOKENS": "32"}
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **settings) as server:
            asyncio.run(converse(server.port, 1, asked=asked, within_s=WITHIN_S))  # warm-up
            for speakers in options.speakers:
                for speculations in (3, 0):
                    cells = asyncio.run(measure(server, asked, speakers, options.turns, speculations))
                    rows.add(tts, str(speakers), "on" if speculations else "off", *cells)


if __name__ == "__main__":
    main()
