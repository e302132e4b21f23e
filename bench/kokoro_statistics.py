"""Write the means and variances of a Kokoro voice's clauses, with which the service computes its clauses in windows.

    python -m bench.kokoro_statistics voices/kokoro/*.bin [--model models/kokoro-82m]

Each voice gets a NAME.npy beside its file. A voice without one is computed whole for its first six clauses. English.
"""

import argparse
from pathlib import Path

import numpy as np

from pipeline.settings import HOME
from pipeline.tts.espeak_engine import Espeak
from pipeline.tts.kokoro_engine import Kokoro, KokoroConfig
from pipeline.tts.kokoro_model import KEPT
from pipeline.tts.kokoro_voices import espeak_voice

SENTENCES = (
    "The capital of France is Paris.",
    "First, open the settings menu and choose your language.",
    "She sells sea shells by the sea shore.",
    "Would you like me to read the next message?",
    "My favourite colour is blue, because it reminds me of the ocean.",
    "Okay, I have set a timer for ten minutes.",
    "There are seventeen people waiting outside the building.",
    "Nobody knows exactly when the bridge was built.",  # language: allow
    "Could you please say that once more?",
    "Water boils at one hundred degrees.",
    "He was born in a small village near the mountains, and moved to the city when he was twenty.",
    "Interesting, tell me more about it.",
    "The quick brown fox jumps over the lazy dog.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voices", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, default=HOME / "models" / "kokoro-82m")
    chosen = parser.parse_args()
    engine = Kokoro(KokoroConfig(str(chosen.model), str(chosen.voices[0])))
    phonemes = Espeak(None)
    for voice in chosen.voices:
        reader = espeak_voice("en", voice.stem) or "en"
        rows = engine.statistics([phonemes.phonemes(one, reader) for one in SENTENCES], str(voice))[:KEPT]
        np.save(voice.with_suffix(".npy"), rows.astype(np.float16))
        print(f"{voice.stem}: {len(rows)} clauses")


if __name__ == "__main__":
    main()
