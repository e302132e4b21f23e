"""PocketSphinx: recognises English with the model in its wheel. The fallback when the model hub is out of reach.

Its open model alone gets every third word wrong. A second search uses a grammar of the sentences that the built-in
responder understands. That is nearly always exact for them, but finds one of them in any sound. `decide` chooses.
"""

import math
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.listening.vad import speech_spans, trim
from pipeline.stt import FileRequest, Hinted, Segment, SpeechToText, Spoken, Transcript, WindowLimits, Word
from pipeline.stt.lacking import refusal
from pipeline.stt.worker_client import TellingFront
from pipeline.support.progress import Report
from pipeline.workers import EngineSpec, Serving, open_worker

if TYPE_CHECKING:
    import pocketsphinx

    from pipeline.settings import Settings


RATE_HZ = 16_000
FRAMES_PER_S = 100
PAD_MS = 200
"""Silence kept around the speech: the models expect some."""
LIMITS = WindowLimits(max_s=15.0, pause_s=0.5, pad_s=0.25)
"""A long recording is cut into utterances. Each becomes one segment, because this engine has no segment times."""

# Fitted on about 200 utterances: eSpeak and flite voices saying sentences inside and outside the grammar, and real read
# speech. For en-us+f2 and flite's slt, every sentence that the grammar found correctly passes. Of the other utterances,
# one of 19 real recordings and two of 16 synthetic ones in voices that are recognised well are mistaken for a sentence
# of the grammar (`bench/wer_sphinx.py`). Units: 0.001 nat of acoustic score a frame.
LOOP_WEIGHT = 1.5
"""A free loop of phones fits any sound better than words do; a sentence must reach its score times this weight."""
MIN_OVER_LOOP = 0.2
"""A sentence of the grammar that fits worse than this is rejected."""
SURE_OVER_LOOP = 2.0
"""A sentence that fits this well is accepted without asking the open model."""
MIN_OVER_OPEN = -1.1
"""A sentence of the grammar can fit this much worse than the open model's words: those were chosen from 130,000."""


@dataclass(frozen=True, slots=True)
class SphinxConfig:
    grammar: str
    """JSGF text."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of one search."""

    text: str
    words: Sequence[Word]
    score: float
    """Acoustic score of the whole clip, in 0.001 nat a frame; comparable between searches of one decoder."""


class SphinxEngine:
    """The synchronous engine. Do not use it in an event loop's process: it holds the GIL while it decodes."""

    def __init__(self, config: SphinxConfig) -> None:
        import pocketsphinx

        self._open = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel="FATAL")
        # A separate decoder for all scores that are compared: every senone is computed in every frame, so that scores
        # do not depend on what else was active; wide beams; and no lattice search, which would return half sentences.
        self._strict = pocketsphinx.Decoder(
            samprate=RATE_HZ, loglevel="FATAL", lm=None, compallsen=True, bestpath=False,
            beam=1e-80, wbeam=1e-60, pbeam=1e-80,
        )  # fmt: skip
        self._strict.add_jsgf_string("grammar", config.grammar)
        self._strict.add_allphone_file("loop", None)
        speech_spans(np.zeros(RATE_HZ, np.float32))  # loads the VAD now; otherwise the first turn takes 0.25 s longer
        self.by_open_model(bytes(RATE_HZ // 2))

    def transcribe(self, clip: Clip, language: Spoken, prompt: Hinted, words: bool) -> Iterator[Transcript | None]:
        """See `SpeechToText` and `WorkerFront`. The prompt is ignored: PocketSphinx takes none."""
        if isinstance(language, tuple):
            language = "en" if "en" in language else language[0]
        speech, offset_s = trim(clip, PAD_MS)
        if not len(speech.samples):  # silence is the same in every language
            yield Transcript("", language or "en", clip.seconds)
            return
        if language is not None and (message := refusal("The embedded recogniser", ["en"], [language])) is not None:
            raise EngineError(message, code="unsupported_language")
        heard = yield from decide(self, speech.pcm16())
        if heard is None:
            yield Transcript("", "en", clip.seconds)
            return
        timed = [Word(w.text, w.start_s + offset_s, w.end_s + offset_s, w.probability) for w in heard.words]
        yield Transcript(heard.text, "en", clip.seconds, words=timed if words else ())

    def segments(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        """See `SpeechToText` and `WorkerFront`. A window is one utterance and yields one segment; translating into
        English changes nothing."""
        yield None
        heard: Transcript | None = None
        for heard in self.transcribe(window, request.language or request.languages or None, None, True):
            if heard is None:
                yield None
        if heard is not None and heard.text:
            words = heard.words
            start_s, end_s = (words[0].start_s, words[-1].end_s) if words else (0.0, window.seconds)
            yield Segment(start_s, end_s, heard.text, "en", words if request.words else ())

    def language_of(self, clip: Clip) -> tuple[str, float]:
        """Always English: the engine knows no other language."""
        return "en", 1.0

    def by_grammar(self, pcm: bytes) -> Decoded | None:
        """The best sentence of the grammar; None when not one fits."""
        self._strict.activate_search("grammar")
        return _decode(self._strict, pcm)

    def by_loop(self, pcm: bytes) -> Decoded | None:
        """The best phones, in any order."""
        self._strict.activate_search("loop")
        return _decode(self._strict, pcm)

    def by_open_model(self, pcm: bytes) -> Decoded | None:
        """The best words of the open language model. Its score cannot be compared with those of the other searches."""
        return _decode(self._open, pcm)

    def aligned(self, text: str, pcm: bytes) -> Decoded | None:
        """Align these words with the sound, for their score."""
        self._strict.set_align_text(text)
        return _decode(self._strict, pcm)


def decide(engine: SphinxEngine, pcm: bytes) -> Generator[None, None, Decoded | None]:
    """Choose between a sentence of the grammar and the open model's words for a clip with speech; None for neither.

    Yields between the passes, where it can be cancelled. Each takes a tenth of the clip's length.

    A sentence of the grammar wins if it fits the sound about as well as a free loop of phones does, and about as
    well as the words of the open model.
    """
    sentence = engine.by_grammar(pcm)
    yield
    loop = engine.by_loop(pcm) if sentence else None
    over_loop = sentence.score - LOOP_WEIGHT * loop.score if sentence and loop else -math.inf
    if over_loop >= SURE_OVER_LOOP:
        return sentence
    yield
    words = engine.by_open_model(pcm)
    if sentence is None or over_loop < MIN_OVER_LOOP:
        return words
    if words is None or words.text == sentence.text:
        return sentence
    yield
    aligned = engine.aligned(words.text, pcm)
    return sentence if aligned is None or sentence.score - aligned.score >= MIN_OVER_OPEN else words


def _decode(decoder: "pocketsphinx.Decoder", pcm: bytes) -> Decoded | None:
    """Run the active search over a whole utterance of 16-bit samples at RATE_HZ."""
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)  # loudness is normalised over the whole clip: 31 % errors, 36 % streamed
    decoder.end_utt()
    found = decoder.hyp()
    if found is None or not found.hypstr:
        return None
    words: list[Word] = []
    score = 0.0
    for segment in decoder.seg():
        if segment.word == "</s>":  # repeats the score of the word before it
            continue
        score += math.log(segment.ascore) if segment.ascore > 0 else LEAST_LOG
        if segment.word[0] not in "<[+(":  # silences, noises, and "(NULL)" where a rule is empty
            text = segment.word.split("(")[0]  # "the(2)" is another pronunciation
            start, end = segment.start_frame / FRAMES_PER_S, (segment.end_frame + 1) / FRAMES_PER_S
            words.append(Word(text, start, end, min(1.0, segment.prob)))
    return Decoded(found.hypstr, words, 1000 * score / max(1, decoder.n_frames()))


LEAST_LOG = -745.0
"""The log of the smallest double: the score of a long word that is reported as 0."""


async def probe(settings: "Settings") -> None:
    """Raise EngineUnavailable if the package cannot be imported."""
    import importlib.util

    if importlib.util.find_spec("pocketsphinx") is None:
        raise EngineUnavailable("pocketsphinx is not installed.", remedy="pip install pocketsphinx")


@asynccontextmanager
async def open_engine(settings: "Settings", report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Load the engine in a separate process; takes about a second."""
    from pipeline.llm.builtin import grammar

    await probe(settings)
    spec = EngineSpec("sphinx", "pipeline.stt.sphinx:SphinxEngine", SphinxConfig(grammar()))
    serving = Serving(stt.TIMEOUT_S, settings.stt_replicas or 1)
    async with open_worker(spec, settings, serving) as worker:
        front = TellingFront(worker, "sphinx", LIMITS)
        yield Opened(front, "en-us", "cpu", worker.load, ["en"])
