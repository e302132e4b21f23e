"""Ends of turns on real speech: false cut-offs and delay with the words, with Smart Turn, and with both.

    python -m bench.endpointing RECORDINGS [--models models] [--kept FOLDER] [--plot SVG] [--hz 8000]
        [--further FOLDER]

RECORDINGS: a folder with the recordings named in `bench.endpointing_set`. Kokoro speaks further sentences, with the
pauses of users who hesitate or dictate; KEPT keeps their sound for the next run. Each utterance is cut at its pauses,
as the real Silero VAD finds them. At each, Whisper tiny.en transcribes what was said so far, Smart Turn hears it, and
the rules of the service decide. A pause inside an utterance that lasts longer than their wait is a false cut-off; the
wait at its end is the delay. Pauses for thought are longer than those of read speech, so each pause is also tried at
600 and 1000 ms. --hz 8000: as over the telephone. --further: instead, the recordings in a folder in which Whisper hears
one sentence.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.endpointing_set import Utterance, further, recorded, silences, spoken
from bench.rows import Rows
from bench.turn_taking import draw
from pipeline.audio.clip import Clip
from pipeline.conversation.pause_sound import ASK_MS, FINISHED
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.endpointing import Sound, delay
from pipeline.listening.options import LiveOptions
from pipeline.listening.smart_turn import FILE, NAME, SmartTurn
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.worker_client import last

SILENCES_MS = (250, 350, 500, 700, 900, 1200)
PAUSES_MS = (None, 600, 1000)
"""Lengths of the pauses; None: as recorded."""
STT_MS, SOUND_MS = 250, 90
"""Time until a transcript and an estimate are there, on a machine that is not busy."""
STEP_MS = 10
METHODS = {"words": (True, False), "Smart Turn": (False, True), "both": (True, True)}
DEFAULT = "both"
SPEECH = {
    "recorded": ("recorded",), "by Kokoro": ("hesitating", "dictating", "finished"), "dictating": ("dictating",),
    "all": ("recorded", "hesitating", "dictating", "finished", "further"),
}  # fmt: skip
"""Rows of the table → the kinds of utterances in them."""

SENTENCES = re.compile(r"[.!?]\s+\S")
"""More than one sentence."""


@dataclass(frozen=True)
class Case:
    """A silence, and what is known in it."""

    kind: str
    name: str
    ms: float | None
    """Its length in the recording; None: the end of the utterance."""
    text: str
    finished: float
    """Smart Turn's estimate after 200 ms of silence."""

    def wait_ms(self, options: LiveOptions, *, words: bool, sound: bool) -> float:
        """Return the silence after which the turn ends."""
        at_ms = float(options.speculate_ms)
        while True:
            known = at_ms >= options.speculate_ms + STT_MS
            text = self.text if words and known else None
            wait_ms = delay(text, "en", options, coming=words and not known, sound=self._sound(at_ms, sound))
            if at_ms >= wait_ms:
                return at_ms
            at_ms += STEP_MS

    def cut(self, options: LiveOptions, method: str, pause_ms: int | None) -> bool:
        """Whether a pause ends the turn. pause_ms: its shortest length; None: as recorded."""
        words, sound = METHODS[method]
        return self.ms is not None and self.wait_ms(options, words=words, sound=sound) < max(self.ms, pause_ms or 0)

    def _sound(self, at_ms: float, sound: bool) -> Sound:
        """Return what `PauseSound` knows at this time."""
        if not sound:
            return Sound.UNKNOWN
        if at_ms < ASK_MS + SOUND_MS:
            return Sound.COMING
        return Sound.FINISHED if self.finished >= FINISHED else Sound.GOES_ON


def cases(utterances: Iterable[Utterance], models: Path) -> list[Case]:
    """Return all silences with what the two models find in them; print Smart Turn's cost."""
    smart_turn = SmartTurn(models / NAME / FILE)
    whisper = WhisperEngine(WhisperConfig(str(models / "whisper-tiny.en"), (("cpu", "int8"),), 1, 1, 10.0))
    found, cost = [], []
    for utterance in utterances:
        of_it = []
        for silence in silences(utterance):
            text = last(whisper.transcribe(Clip(silence.sound(100), RATE_HZ), "en", None, False)).text
            before = time.process_time()
            finished = smart_turn.probability(silence.sound(ASK_MS))
            cost.append(time.process_time() - before)
            of_it.append(Case(utterance.kind, utterance.name, silence.ms, text, finished))
        if utterance.kind != "further" or not SENTENCES.search(of_it[-1].text):
            found += of_it
    print(
        f"Smart Turn: {1000 * statistics.median(cost):.1f} ms of CPU a call, p95 {1000 * np.percentile(cost, 95):.1f}\n"
    )
    return found


def figures(
    found: Sequence[Case], options: LiveOptions, method: str, pause_ms: int | None
) -> tuple[float, float, float]:
    """Return false cut-offs in per cent of the pauses, and median and 95th percentile of the delay in ms."""
    words, sound = METHODS[method]
    cut = [case.cut(options, method, pause_ms) for case in found if case.ms is not None]
    delays = [case.wait_ms(options, words=words, sound=sound) for case in found if case.ms is None]
    return 100 * statistics.mean(cut), statistics.median(delays), float(np.percentile(delays, 95))


def telephone(utterance: Utterance) -> Utterance:
    """Return the utterance at 8 kHz, and back."""
    low = Clip(utterance.samples, RATE_HZ).at(8000).at(RATE_HZ).samples
    return Utterance(utterance.name, utterance.kind, low, utterance.ends, narrow_band=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "parley-endpointing")
    parser.add_argument("--plot", type=Path, metavar="SVG")
    parser.add_argument("--hz", type=int, choices=(8000, RATE_HZ), default=RATE_HZ)
    parser.add_argument("--all", action="store_true", help="list every silence")
    parser.add_argument("--further", type=Path)
    chosen = parser.parse_args()
    utterances = (
        list(further(chosen.further))
        if chosen.further
        else [*recorded(chosen.recordings), *asyncio.run(spoken(chosen.models, chosen.kept))]
    )
    found = cases(map(telephone, utterances) if chosen.hz == 8000 else utterances, chosen.models)
    if chosen.all:
        for case in found:
            waits = [f"{case.wait_ms(LiveOptions(), words=w, sound=s):.0f}" for w, s in METHODS.values()]
            told = "end" if case.ms is None else f"{case.ms:.0f} ms"
            print(case.kind, told, f"{case.finished:.2f}", *waits, case.text[-60:])
    rows = Rows("speech", "decided by", "SILENCE_MS", "cut off", "at 600 ms", "at 1000 ms", "median", "p95")
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for speech, kinds in SPEECH.items():
        some = [case for case in found if case.kind in kinds]
        if not some:
            continue
        for method in METHODS:
            for silence_ms in SILENCES_MS:
                options = LiveOptions(silence_ms=silence_ms)
                by_pause = [figures(some, options, method, pause_ms) for pause_ms in PAUSES_MS]
                _, median_ms, p95_ms = by_pause[0]
                rows.add(
                    speech, method, str(silence_ms), *(f"{cut:.1f} %" for cut, _, _ in by_pause),
                    f"{median_ms:.0f} ms", f"{p95_ms:.0f} ms",
                )  # fmt: skip
                if speech == "all":
                    curves.setdefault(method, []).append((silence_ms, median_ms, by_pause[1][0]))
    inside = sum(case.ms is not None for case in found)
    print(f"\n{inside} pauses, {len(found) - inside} ends. Cut off by the default:")
    for case in found:
        cut = [pause_ms for pause_ms in PAUSES_MS if case.cut(LiveOptions(), DEFAULT, pause_ms)]
        if cut:
            length = "as recorded" if cut[0] is None else f"at {cut[0]} ms"
            print(f"{length}: {case.kind}, {case.ms:.0f} ms, sound {case.finished:.2f}: {case.text[-60:]}")
    if chosen.plot:
        chosen.plot.write_text(draw(curves, "pauses of 600 ms"))


if __name__ == "__main__":
    main()
