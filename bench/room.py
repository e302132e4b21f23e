"""The room: noise, a second voice, and the reply's own echo, with real models on virtual time.

    python -m bench.room [--trials 100] [--parts echo lock owner noise] [--whisper models/whisper-tiny.en]

Kokoro's voices speak (kept in --kept), the real Silero VAD listens, Whisper transcribes. A trial of "echo", "lock" or
"owner" is a whole conversation: a question, a long reply, and during it only what the part is about. "lock" is a second
voice with the speaker lock and without it, "owner" is the user, who must still interrupt. Of `VOICES` those speak that
Kokoro has here; four are included.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

from bench.room_sounds import (
    CUT_INS,
    LEVEL_DB,
    QUESTION,
    REPLY,
    STEP,
    TELEVISION,
    VOICES,
    Microphone,
    at_level,
    babble,
    fan,
    spoken,
)
from bench.rows import Rows
from bench.wer_whisper import load, plain
from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.conversation.session import Session
from pipeline.conversation.speaker_lock import FIRST, SpeakerLock
from pipeline.conversation.turn import Stages
from pipeline.listening.detector import FRAME, RATE_HZ, SileroActivity, SpeechDetector
from pipeline.listening.echo import Echo
from pipeline.listening.noise import LATER, NoiseFilter
from pipeline.listening.options import LiveOptions
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken, Transcript
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.worker_client import last
from pipeline.transcripts.speakers.encoder import EncoderConfig, EncoderEngine
from pipeline.transcripts.speakers.resemblyzer import find_weights
from pipeline.tts.kokoro import SHIPPED_VOICES
from pipeline.tts.kokoro_voices import find_voices
from pipeline.voices.catalogue import Voice
from tests import virtual_time
from tests.real_models import RECORDINGS
from tests.scripted import VOICE, ScriptedLLM, ScriptedSTT, ScriptedTTS

SPEAKERS = ("am_puck", "bm_george")
"""Voices of the reply: the first that is here."""
DELAYS_MS = (20, 500)
"""Range of the delay from sending a reply's sound to hearing it."""
STT_S = 0.15
"""Virtual time of a transcript."""
LONGEST_S, NOISE_S = 6.0, 30.0
"""Longest recording that is transcribed in noise, and length of the noise alone."""
AFTER_S = 2.5
"""Time to go on listening after the reply or the interruption."""


class RealSTT(ScriptedSTT):
    """Whisper, which takes no virtual time except STT_S."""

    def __init__(self, engine: WhisperEngine) -> None:
        super().__init__(seconds=STT_S)
        self._engine = engine

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        with self.running.call("stt"):
            await asyncio.sleep(self.seconds)
            return last(self._engine.transcribe(clip, "en", prompt, words))


@dataclass
class SpokenTTS(ScriptedTTS):
    """Speaks sentences with Kokoro's sound."""

    sounds: Mapping[str, Samples] = field(default_factory=dict)

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        with self.running.call("tts"):
            await asyncio.sleep(self.first_s)
            sound = self._sound(text.strip())
            for start in range(0, len(sound), 1280):
                yield Clip(sound[start : start + 1280], RATE_HZ)
                await asyncio.sleep(0.008)

    def _sound(self, text: str) -> Samples:
        """Return the part of a sentence's sound that speaks this clause, by its share of the letters."""
        sentence = next(sentence for sentence in self.sounds if text in sentence)
        sound, start = self.sounds[sentence], sentence.index(text)
        return sound[len(sound) * start // len(sentence) : len(sound) * (start + len(text)) // len(sentence)]


@dataclass
class Outcome:
    """Events of one conversation."""

    interrupted: bool = False
    held: int = 0
    answered: int = 0
    """Turns after the first."""
    heard: str = ""
    """Words of the last turn."""
    delay_ms: float = 0.0
    """Time from the start of the interruption to the stop of the reply."""


COUNTS = ("conversations", "interrupted", "answered", "held", "median delay")


def counts(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the cells of COUNTS."""
    delays = [one.delay_ms for one in outcomes if one.interrupted]
    sums = (
        len(outcomes), sum(one.interrupted for one in outcomes), sum(one.answered > 0 for one in outcomes),
        sum(one.held for one in outcomes),
    )  # fmt: skip
    return [*map(str, sums), f"{np.median(delays):.0f} ms" if delays else ""]


def converse(
    question: Samples | None,
    reply: Mapping[str, Samples],
    engine: WhisperEngine,
    microphone: Microphone,
    during: Samples | None,
    encoder: "VoiceEncoder | None" = None,
    **options: Any,
) -> Outcome:
    """Ask a question (None: typed), and let `during` sound while the reply is spoken."""

    async def run() -> Outcome:
        llm = ScriptedLLM(" ".join(REPLY), tokens_per_s=1000)
        stages = Stages(RealSTT(engine), llm, SpokenTTS(sounds=reply))
        session = Session(
            stages, Settings(), LiveOptions(**{"partial_ms": 0} | options), Conversation("", budget_tokens=4000),
            voice=VOICE, language="en", activity=SileroActivity(),
            lock=None if encoder is None else lambda wanted, owner: SpeakerLock(stages.stt, encoder, owner),
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        log: list[tuple[float, Any]] = []

        async def listen() -> None:
            async for event in session.events:
                log.append((loop.time(), event))
                if isinstance(event, events.SpeechChunk):
                    microphone.plays(event.clip)

        def of(kind: type[Any]) -> list[Any]:
            return [event for _, event in log if isinstance(event, kind)]

        async def hear(until: Callable[[], bool]) -> None:
            while not until():
                await asyncio.sleep(STEP / RATE_HZ)
                session.hear(microphone.step())

        async with session:
            listening = asyncio.create_task(listen())
            if question is None:
                session.say(QUESTION)
            else:
                microphone.hears(question, after=8000)
            deadline = RATE_HZ * 20
            await hear(lambda: bool(of(events.SpeechChunk)) or microphone.now > deadline)
            began = loop.time() + float(microphone.rng.uniform(1.0, 5.0))
            ended = 0
            if during is not None:
                ended = microphone.hears(during, after=int((began - loop.time()) * RATE_HZ))
            done = (events.TurnCompleted, events.TurnInterrupted)
            await hear(lambda: any(isinstance(event, done) for _, event in log) and microphone.now > ended)
            end = microphone.now + int(AFTER_S * RATE_HZ)
            await hear(lambda: microphone.now > end)
            await session.close()
            await asyncio.wait([listening])
        outcome = Outcome(bool(of(events.TurnInterrupted)), len(of(events.SpeechHeld)), len(of(events.TurnStarted)) - 1)
        outcome.heard = of(events.TranscriptFinal)[-1].text if of(events.TranscriptFinal) else ""
        stops = [at for at, event in log if isinstance(event, events.TurnInterrupted)]
        outcome.delay_ms = 1000 * (stops[0] - began) if stops else 0.0
        return outcome

    return virtual_time.run(run())


@dataclass
class Bench:
    """Models, sounds and numbers of trials."""

    engine: WhisperEngine
    sounds: Mapping[tuple[str, str], Samples]
    voices: Sequence[str]
    speaker: str
    """The voice of the reply. No user speaks in it over its echo."""
    recordings: Path
    trials: int
    verbose: bool
    noises: Sequence[str] = ("fan", "babble")
    snrs_db: Sequence[float] = (20, 10, 5, 0)

    @property
    def reply(self) -> dict[str, Samples]:
        return {text: self.sounds[self.speaker, text] for text in REPLY}

    def echo(self) -> None:
        """The reply's own echo at -10 dB: false interruptions and answers, and barge-ins of the user over it."""
        rows = Rows("echo at -10 dB", *COUNTS)
        known = Echo.is_echo
        for name, found in (("by level and words", known), ("by words only", lambda self: False)):
            Echo.is_echo = found  # type: ignore[method-assign]
            for what, user_speaks in (("only the echo", False), ("the user cuts in", True)):
                outcomes = [self._echo(number, user_speaks) for number in range(self.trials)]
                rows.add(f"{what}, {name}", *counts(outcomes))
        Echo.is_echo = known  # type: ignore[method-assign]

    def _echo(self, number: int, user_speaks: bool) -> Outcome:
        rng = np.random.default_rng(number)
        users = [name for name in self.voices if name != self.speaker]
        voice = users[number % len(users)]
        microphone = Microphone(rng, -10.0, float(rng.uniform(*DELAYS_MS)))
        cut_in = self.sounds[voice, CUT_INS[number % len(CUT_INS)]] if user_speaks else None
        outcome = converse(None, self.reply, self.engine, microphone, cut_in)
        if self.verbose and (outcome.interrupted != user_speaks or (not user_speaks and outcome.answered)):
            print(number, voice, f"{microphone.delay_ms:.0f} ms", outcome)
        return outcome

    def lock(self) -> None:
        """A second voice at 10 dB below the user: interruptions and answers."""
        rows = Rows("speaker lock, at -10 dB", *COUNTS)
        for name, lock in (("locked", VoiceEncoder()), ("not locked", None)):
            outcomes = [self._locked(number, False, lock) for number in range(self.trials)]
            rows.add(f"another voice, {name}", *counts(outcomes))

    def owner(self) -> None:
        """The user, with the lock: interruptions and answers."""
        rows, encoder = Rows("speaker lock", *COUNTS), VoiceEncoder()
        outcomes = [self._locked(number, True, encoder) for number in range(self.trials)]
        rows.add("the user, locked", *counts(outcomes))

    def _locked(self, number: int, owner: bool, encoder: "VoiceEncoder | None") -> Outcome:
        rng = np.random.default_rng(number)
        user, other = (self.voices[index] for index in rng.choice(len(self.voices), 2, replace=False))
        if owner:
            during = self.sounds[user, CUT_INS[number % len(CUT_INS)]]
        else:
            during = at_level(self.sounds[other, TELEVISION[number % len(TELEVISION)]], LEVEL_DB - 10)
        options = {"speaker_lock": FIRST} if encoder else {}
        outcome = converse(
            self.sounds[user, QUESTION], self.reply, self.engine, Microphone(rng), during, encoder, **options
        )
        if self.verbose and encoder and (outcome.interrupted != owner or (not owner and outcome.answered)):
            print(number, user, other, outcome)
        return outcome

    def noise(self) -> None:
        """Fan and babble: word error rate of recordings, false starts of the detector in noise, and speech found."""
        rows = Rows("noise", "SNR", "word errors", "filtered", "false starts", "filtered", "speech found", "filtered")
        talkers = [self.sounds[voice, text] for voice in self.voices for text in TELEVISION]
        read = [(text, clip) for text, _, clip in load(self.recordings) if clip.seconds <= LONGEST_S]
        said, speech = zip(*read[: self.trials], strict=True)
        voices = [at_level(clip.at(RATE_HZ).samples, LEVEL_DB) for clip in speech]
        for kind in self.noises:
            for snr_db in self.snrs_db:
                rng = np.random.default_rng(int(snr_db))

                def noise(count: int, kind: str = kind, rng: Any = rng, gain: float = 10 ** (-snr_db / 20)) -> Samples:
                    return gain * (fan(count, rng) if kind == "fan" else babble(count, rng, talkers))

                noisy = [np.pad(one, 8000) + noise(len(one) + 16_000) for one in voices]
                alone = noise(int(NOISE_S * RATE_HZ))
                ways = [(noisy, alone), ([filtered(one) for one in noisy], filtered(alone))]
                cells = [kind, f"{snr_db:g} dB"]
                cells += [f"{jiwer.wer(list(said), list(map(self._written, sounds))):.1%}" for sounds, _ in ways]
                cells += [f"{len(runs(sound))} in {NOISE_S:g} s" for _, sound in ways]
                cells += [f"{np.mean([found(one, len(one) - 16_000) for one in sounds]):.0%}" for sounds, _ in ways]
                rows.add(*cells)

    def _written(self, sound: Samples) -> str:
        return plain(last(self.engine.transcribe(Clip(sound, RATE_HZ), "en", None, False)).text)


def filtered(sound: Samples) -> Samples:
    """Return the sound after the noise filter, without its delay."""
    reduction = NoiseFilter(1.0)
    padded = np.pad(sound, (0, LATER + FRAME))
    parts = [reduction.reduced(padded[at : at + FRAME]) for at in range(0, len(padded) // FRAME * FRAME, FRAME)]
    return np.concatenate(parts)[LATER : LATER + len(sound)]


def runs(sound: Samples) -> list[tuple[int, int]]:
    """Return the runs of at least 60 ms of speech (start, end) that the detector finds, and that begin utterances."""
    detector, began = SpeechDetector(SileroActivity(), 0.5), list[tuple[int, int]]()
    for at in range(0, len(sound) // FRAME * FRAME, FRAME):
        detector.feed(sound[at : at + FRAME])
        if detector.run_ms >= 60:
            if began and began[-1][0] == detector.began:
                began.pop()
            began.append((detector.began, detector.now))
    return began


def found(sound: Samples, spoken: int) -> float:
    """Return the share of the speech that the detector finds. spoken: samples of it, after 8000 without."""
    inside = [max(0, min(end, 8000 + spoken) - max(start, 8000)) for start, end in runs(sound)]
    return sum(inside) / spoken


class VoiceEncoder:
    """The encoder of the speaker lock, which takes no virtual time."""

    def __init__(self) -> None:
        self._engine = EncoderEngine(EncoderConfig(str(find_weights(Settings())), 1))

    async def embed(self, clips: Sequence[Samples]) -> Samples:
        return self._engine.embed(clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--parts", nargs="*", default=["echo", "lock", "owner", "noise"])
    parser.add_argument("--whisper", type=Path, default=Path("models/whisper-tiny.en"))
    parser.add_argument("--kokoro", type=Path, default=Path("models/kokoro-82m"))
    parser.add_argument(
        "--kept", type=Path, default=Path(tempfile.gettempdir()) / "parley-room", help="folder for the spoken sentences"
    )
    parser.add_argument("--recordings", type=Path, default=RECORDINGS, help="folder with manifest.json")
    parser.add_argument("--noises", nargs="*", default=Bench.noises, help="fan, babble")
    parser.add_argument("--snrs-db", type=float, nargs="*", default=Bench.snrs_db, help="speech to noise")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    engine = WhisperEngine(WhisperConfig(str(options.whisper), (("cpu", "int8"),), 1, 1, 10.0))
    here = find_voices([options.kokoro / "voices", SHIPPED_VOICES])
    speaker = next(name for name in SPEAKERS if name in here)
    voices = [name for name in VOICES if name in here]
    wanted = [(voice, text) for text in TELEVISION for voice in voices]
    if set(options.parts) != {"noise"}:
        wanted += [(speaker, text) for text in REPLY]
        wanted += [(voice, text) for text in (QUESTION, *CUT_INS) for voice in voices]
    sounds = spoken(wanted, options.kokoro, options.kept)
    print(f"{len(voices)} voices: {' '.join(voices)}; the reply: {speaker}\n")
    bench = Bench(
        engine, sounds, voices, speaker, options.recordings, options.trials, options.verbose, options.noises,
        options.snrs_db,
    )  # fmt: skip
    for part in options.parts:
        getattr(bench, part)()


if __name__ == "__main__":
    main()
