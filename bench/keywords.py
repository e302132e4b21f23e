"""Names that Whisper finds without and with keywords, and words that keywords make worse.

    TTS_ENGINE=kokoro python -m bench.keywords FOLDER MODEL … [--unspoken-s 120] [--show]

FOLDER/manifest.json: as in `bench.wer_whisper`. MODEL: a folder with a CTranslate2 model.

Names: each of SENTENCES is spoken by TTS_ENGINE in each of VOICES, and transcribed with the keywords of each of CASES.
Kokoro speaks like a reader; its weights must be in MODELS_DIR.
Recordings: real speech, transcribed without keywords and with names that are not in it: a changed word is a loss or a
gain. Sounds without speech, transcribed as utterances: each word is invented.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np

from bench.rows import Rows
from bench.wer_whisper import load, plain, unspoken
from pipeline.assistant import open_tts
from pipeline.audio.clip import Clip
from pipeline.settings import Settings
from pipeline.stt import FileRequest
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.voices.catalogue import Voices

SENTENCES = {
    "Xanthippe": "Please ask Xanthippe to bring the report tomorrow.",
    "Kowalczyk": "The meeting with Doctor Kowalczyk starts at nine.",
    "Siobhan": "I left the keys with Siobhan at the front desk.",
    "Parley": "You can ask Parley to turn on the kitchen light.",
    "Nguyen": "Mister Nguyen called about the invoice this morning.",
    "Ciprofloxacin": "She takes Ciprofloxacin twice a day after meals.",
    "Kubernetes": "We moved the whole service to Kubernetes last year.",
    "Saoirse": "Is Saoirse coming to the concert with us?",
    "Zbigniew": "Zbigniew has already paid for the tickets.",
    "Levothyroxine": "The doctor prescribed Levothyroxine in the spring.",
    "Quetzalcoatl": "The book about Quetzalcoatl is on the second shelf.",
    "Eoghan": "Tell Eoghan that the train is ten minutes late.",
    "Ljubljana": "Our flight to Ljubljana leaves at half past six.",
    "Grafana": "Look at the numbers in Grafana before you decide.",
    "Anneliese": "Anneliese Brandt will join the call from home.",
    "Wojciech": "I sent the contract to Wojciech on Friday.",
    "Tadalafil": "The pharmacy did not have Tadalafil today.",
    "Aoife": "Aoife wants to paint the living room blue.",
    "PostgreSQL": "All the data is stored in PostgreSQL on one machine.",
    "Thessaloniki": "They have lived in Thessaloniki for three years.",
}
"""Name → the sentence that contains it."""
VOICES = ("af_heart", "bf_emma")
CASES = (
    ("none", 0, False),
    ("its own", 1, True),
    ("5 with its own", 5, True),
    ("20 with its own", 20, True),
    ("19 others", 19, False),
)
"""(label, number of keywords, whether the sentence's own name is among them)."""


def heard(engine: WhisperEngine, clip: Clip, keywords: Sequence[str]) -> str:
    """Return the transcript of a recording of one window."""
    request = FileRequest("en", keywords=tuple(keywords))
    return " ".join(one.text for one in engine.segments(clip, request) if one is not None)


def errors(said: str, text: str) -> int:
    """Return the number of wrong words."""
    found = jiwer.process_words(said or "-", text or "-")
    return found.substitutions + found.deletions + found.insertions


async def spoken(sentences: Sequence[str]) -> list[list[Clip]]:
    """Return each sentence in each voice."""
    settings = Settings()
    voices = Voices.load(settings)
    async with open_tts(settings, lambda progress: None) as running:
        voices.add_built_in(running.voices)
        clips: list[list[Clip]] = []
        for sentence in sentences:
            clips.append([])
            for name in VOICES:
                parts = [one async for one in running.engine.speak(sentence, voice=voices.get(name), language="en")]
                clips[-1].append(Clip(np.concatenate([one.samples for one in parts]), parts[0].rate_hz))
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--unspoken-s", type=float, default=120.0)
    parser.add_argument("--show", action="store_true", help="Print each transcript.")
    options = parser.parse_args()
    clips = asyncio.run(spoken(list(SENTENCES.values())))
    recordings = load(options.folder)
    for model in options.models:
        print(model.name)
        measure(model, clips, recordings, options.unspoken_s, show=options.show)


def measure(
    model: Path, clips: Sequence[Sequence[Clip]], recordings: Sequence[tuple[str, str, Clip]], unspoken_s: float, *,
    show: bool,
) -> None:  # fmt: skip
    """Print the table of one model. clips: each of SENTENCES in each of VOICES."""
    engine = WhisperEngine(WhisperConfig(str(model), (("cpu", "int8"),), 1, 1, 10.0))
    names = tuple(SENTENCES)
    rows = Rows(
        "keywords", "names found", "other words lost", "made worse", "recordings: words wrong", "made worse",
        "CPU each", "invented words",
    )  # fmt: skip
    alone: list[int] = []
    lost_alone: list[int] = []
    for label, count, own in CASES:
        found = 0
        lost: list[int] = []
        for index, ((name, sentence), voices) in enumerate(zip(SENTENCES.items(), clips, strict=True)):
            given = [*names[index:], *names[:index]][0 if own else 1 :][:count]
            for clip in voices:
                text = plain(heard(engine, clip, given))
                found += name.lower() in text.split()
                others = [word for word in plain(sentence).split() if word != name.lower()]
                lost.append((Counter(others) - Counter(text.split())).total())
                if show:
                    print(f"    {label}: {name}: {text}", flush=True)
        began = time.process_time()
        each = [errors(said, plain(heard(engine, clip, names[:count]))) for said, _, clip in recordings]
        each_s = (time.process_time() - began) / len(recordings)
        alone, lost_alone = alone or each, lost_alone or lost
        made_up = [text for _, clip in unspoken(unspoken_s) if (text := heard(engine, clip, names[:count]))]
        rows.add(
            label, f"{found} of {len(lost)}", str(sum(lost)), worse(lost_alone, lost), str(sum(each)),
            worse(alone, each), f"{each_s * 1000:.0f} ms", str(sum(len(text.split()) for text in made_up)),
        )  # fmt: skip


def worse(before: Sequence[int], after: Sequence[int]) -> str:
    """Return the number of words that are wrong with keywords only, of all recordings."""
    return str(sum(max(0, new - old) for old, new in zip(before, after, strict=True)))


if __name__ == "__main__":
    main()
