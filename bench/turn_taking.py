"""Endpointing and barge-in on over 200 scripted turns: premature endpoints, delays, and false interruptions.

python -m bench.turn_taking                              the figures at the default settings
python -m bench.turn_taking --plot docs/endpointing.svg  and the trade-off of SILENCE_MS, adaptive and fixed

eSpeak speaks, in three languages and several voices; the noise is synthetic; the real Silero VAD listens; time is
virtual. The transcript is scripted: the words in the sound which the recogniser receives, either without punctuation
(as PocketSphinx writes) or with a full stop after every transcript (as Whisper does), which hides the end of a
sentence.
"""

import argparse
import asyncio
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.turn_scripts import Script, scripts
from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.conversation.session import Session
from pipeline.conversation.turn import Stages
from pipeline.listening.detector import FRAME, RATE_HZ, SileroActivity
from pipeline.listening.options import LiveOptions
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken, Transcript
from tests import virtual_time
from tests.scripted import VOICE, ScriptedLLM, ScriptedSTT, ScriptedTTS

REPLY = " ".join(
    f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five", "six")
)
LEAD_S, END_S = 0.6, 2.6
"""Silence before the first word and after the last."""
MISSED_MS = 2000
"""An endpoint later than this counts as missed."""


class Remembered:
    """Silero with cached results: the sound of a script without an interruption is the same for all settings."""

    def __init__(self, known: list[float]) -> None:
        self._known, self._at, self._silero = known, 0, None if known else SileroActivity()

    def probability(self, frame: Samples) -> float:
        if self._silero is not None:
            self._known.append(self._silero.probability(frame))
        self._at += 1
        if self._at > len(self._known):
            return 0.0
        return self._known[self._at - 1]

    def reset(self) -> None:
        pass


@dataclass
class PrefixSTT(ScriptedSTT):
    """Transcribes the words in its sound."""

    said: list[tuple[int, int, str]] = field(default_factory=list)
    """First and last sample of each word."""
    full_stop: bool = False
    session: Session | None = None

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        assert self.session is not None
        end = self.session.received // FRAME * FRAME
        start = end - len(clip.samples)
        heard = " ".join(word for first, last, word in self.said if start <= (first + last) // 2 < end)
        await asyncio.sleep(self.seconds)
        return Transcript(heard + "." if heard and self.full_stop else heard, self.language, clip.seconds)

    def hears(self, text: str, start: int, samples: int) -> None:
        """A stretch of speech begins at this sample; each word's share of it is its share of the letters."""
        letters = max(1, len(text))
        at = 0
        for word in text.split():
            self.said.append((start + samples * at // letters, start + samples * (at + len(word)) // letters, word))
            at += len(word) + 1


@dataclass
class Outcome:
    """The outcome of one turn."""

    kind: str
    delay_ms: float | None = None
    """Time from the end of the speech to the endpoint; negative: cut off; None: never."""
    interrupted: bool = False
    answered: bool = False


def play(script: Script, *, full_stop: bool = False, **options: Any) -> Outcome:
    """Run one script on virtual time."""
    stt = PrefixSTT(language=script.language, full_stop=full_stop)
    random = np.random.default_rng(5)

    async def run() -> Outcome:
        stages = Stages(stt, ScriptedLLM(REPLY, tokens_per_s=1000), ScriptedTTS(rtf=0.01))
        live = LiveOptions(**{"partial_ms": 0} | options)
        activity = Remembered(script.probabilities) if script.cut_in is None else SileroActivity()
        session = Session(
            stages,
            Settings(),
            live,
            Conversation("", budget_tokens=4000),
            voice=VOICE,
            language=None,
            activity=activity,
        )
        stt.session = session
        log: list[Any] = []

        async def listen() -> None:
            async for event in session.events:
                log.append(event)

        async def hear(samples: Samples, text: str = "") -> None:
            stt.hears(text, session.received, len(samples))
            noisy = samples + random.normal(0, script.room, len(samples)).astype(np.float32) if script.room else samples
            for start in range(0, len(noisy), 320):
                part = noisy[start : start + 320]
                await asyncio.sleep(len(part) / RATE_HZ)
                session.hear(part)

        def of(kind: type[Any]) -> list[Any]:
            return [event for event in log if isinstance(event, kind)]

        async with session:
            listening = asyncio.create_task(listen())
            await hear(np.zeros(int(LEAD_S * RATE_HZ), np.float32))
            ended_s = 0.0
            for said in script.said:
                await hear(np.zeros(int(said.pause_ms * RATE_HZ / 1000), np.float32))
                await hear(said.samples, said.text)
                ended_s = session.received / RATE_HZ
                if of(events.UserSpeechStopped) and said is not script.said[-1]:
                    break
            outcome = Outcome(script.kind)
            cut_off = bool(of(events.UserSpeechStopped)) and script.kind in ("pausing", "hesitating")
            stopped_s = None
            silence = np.zeros(320, np.float32)
            while stopped_s is None and session.received / RATE_HZ < ended_s + END_S:
                if of(events.UserSpeechStopped):
                    stopped_s = session.received / RATE_HZ
                else:
                    await hear(silence)
            outcome.delay_ms = -1.0 if cut_off else None if stopped_s is None else (stopped_s - ended_s) * 1000
            if script.cut_in is not None:
                while not of(events.SpeechChunk):
                    await hear(silence)
                await hear(np.zeros(RATE_HZ, np.float32))
                await hear(script.cut_in.samples, script.cut_in.text)
                await hear(np.zeros(2 * RATE_HZ, np.float32))
                outcome.interrupted = bool(of(events.TurnInterrupted))
            elif script.kind == "noise alone":
                await hear(np.zeros(2 * RATE_HZ, np.float32))
            outcome.answered = bool(of(events.TurnStarted))
            await session.close()
            await asyncio.wait([listening])
        return outcome

    return virtual_time.run(run())


@dataclass
class Figures:
    """Results of one run over the set, in per cent and ms."""

    turns: int
    cut_offs: float
    missed_ends: float
    false_interruptions: float
    missed_interruptions: float
    noise_answered: float
    median_delay_ms: float
    p95_delay_ms: float


def share(hits: Iterable[bool]) -> float:
    values = list(hits)
    return 100 * sum(values) / len(values) if values else 0.0


def figures(outcomes: list[Outcome]) -> Figures:
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.kind].append(outcome)
    spoken_turns = [*kinds["finished"], *kinds["pausing"], *kinds["hesitating"]]
    whole = [outcome.delay_ms for outcome in spoken_turns if outcome.delay_ms is not None and outcome.delay_ms >= 0]
    return Figures(
        turns=len(outcomes),
        cut_offs=share(o.delay_ms is not None and o.delay_ms < 0 for o in spoken_turns),
        missed_ends=share(o.delay_ms is None or o.delay_ms > MISSED_MS for o in spoken_turns),
        false_interruptions=share(o.interrupted for o in [*kinds["back-channel"], *kinds["noise in a reply"]]),
        missed_interruptions=share(not o.interrupted for o in kinds["barge-in"]),
        noise_answered=share(o.answered for o in kinds["noise alone"]),
        median_delay_ms=statistics.median(whole) if whole else float("nan"),
        p95_delay_ms=float(np.percentile(whole, 95)) if whole else float("nan"),
    )


def trade_off(turns: list[Script]) -> dict[str, list[tuple[int, float, float]]]:
    """SILENCE_MS, median delay in ms and false cut-offs in per cent, for each kind of endpointing."""
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for name, options in {
        "fixed": {"adaptive_endpointing": False},
        "adaptive": {},
        "adaptive, a full stop after every transcript": {"full_stop": True},
    }.items():
        curves[name] = []
        for silence_ms in (250, 350, 500, 700, 900, 1200):
            found = figures([play(script, silence_ms=silence_ms, **options) for script in turns])
            curves[name].append((silence_ms, found.median_delay_ms, found.cut_offs))
    return curves


def draw(curves: dict[str, list[tuple[int, float, float]]], of: str = "turns") -> str:
    """Draw the curves as SVG, readable on paper or a screen, light or dark. of: what the cut-offs are a share of."""
    width, height, left, bottom = 720, 420, 64, 56
    most_x = 100 * (1 + int(max(x for points in curves.values() for _, x, _ in points) // 100))
    most_y = 10 * (1 + int(max(y for points in curves.values() for _, _, y in points) // 10))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / most_x * (width - left - 24), height - bottom - y / most_y * (height - bottom - 24)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for x in range(0, most_x + 1, 200):
        at, low = place(x, 0)
        lines.append(f'<path d="M{at:.0f} {low:.0f}V24" stroke="#ddd"/>')
        lines.append(f'<text x="{at:.0f}" y="{low + 18:.0f}" text-anchor="middle">{x}</text>')
    for y in range(0, most_y + 1, 10):
        start, at = place(0, y)
        lines.append(f'<path d="M{start:.0f} {at:.0f}H{width - 24}" stroke="#ddd"/>')
        lines.append(f'<text x="{start - 8:.0f}" y="{at + 4:.0f}" text-anchor="end">{y}</text>')
    lines.append(
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">median delay of the endpoint, ms</text>'
    )
    lines.append(
        f'<text transform="translate(18 {height / 2}) rotate(-90)" text-anchor="middle">'
        f"false cut-offs, % of {of}</text>"
    )
    for index, ((name, points), colour) in enumerate(zip(curves.items(), ("#888", "#0b62d6", "#c2410c"), strict=True)):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(delay, cut_offs) for _, delay, cut_offs in points))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        for silence_ms, delay, cut_offs in points:
            x, y = place(delay, cut_offs)  # type: ignore[assignment]
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            if index < 2:
                lines.append(
                    f'<text x="{x + 6:.1f}" y="{y - 6:.1f}" font-size="11" fill="{colour}">{silence_ms}</text>'
                )
        lines.append(f'<text x="{width - 34}" y="{44 + 20 * index}" text-anchor="end" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, metavar="SVG")
    parser.add_argument("--all", action="store_true", help="list every turn that went wrong")
    chosen = parser.parse_args()
    console = Console(width=130)
    turns = scripts()
    table = Table("recogniser", "endpointing", *(name.replace("_", " ") for name in Figures.__dataclass_fields__))
    for recogniser, full_stop in (("no punctuation", False), ("always a full stop", True)):
        for adaptive in (True, False):
            outcomes = [play(script, full_stop=full_stop, adaptive_endpointing=adaptive) for script in turns]
            found = figures(outcomes)
            values = [getattr(found, name) for name in Figures.__dataclass_fields__]
            table.add_row(recogniser, "adaptive" if adaptive else "fixed", *(f"{value:.1f}" for value in values))
            if chosen.all and adaptive:
                for script, outcome in zip(turns, outcomes, strict=True):
                    told = (
                        " / ".join(f"({said.pause_ms}) {said.text}" for said in script.said),
                        script.cut_in.text if script.cut_in else "",
                    )
                    wrong = outcome.interrupted is not (script.kind == "barge-in")
                    if wrong or outcome.delay_ms is None or outcome.delay_ms < 0 or outcome.delay_ms > 1000:
                        console.print(recogniser, script.kind, *told, outcome, highlight=False)
    console.print(table)
    if chosen.plot:
        curves = trade_off([script for script in turns if script.kind in ("finished", "pausing", "hesitating")])
        for name, points in curves.items():
            console.print(
                name, *(f"{silence} ms: {delay:.0f} ms, {cut_offs:.1f} %" for silence, delay, cut_offs in points)
            )
        chosen.plot.write_text(draw(curves))


if __name__ == "__main__":
    main()
