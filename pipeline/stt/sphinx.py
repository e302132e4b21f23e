"""PocketSphinx: English, with the model that is inside its wheel. What hears when no model hub is in reach.

Its open model alone gets every third word wrong. Beside it runs a grammar of what the built-in responder understands,
which is nearly always exact, but finds one of its sentences in any sound. `decide` chooses between the two.
"""

import math
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.audio import Clip
from pipeline.engines import Opened, Report
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.listening.vad import speech_spans, trim
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, Transcript, WindowLimits, Word
from pipeline.stt.front import WorkerFront
from pipeline.workers import EngineSpec, Serving, open_worker

RATE_HZ = 16_000
FRAMES_PER_S = 100
PAD_MS = 200
"""Silence kept around the speech: the models expect some."""
LIMITS = WindowLimits(max_s=15.0, pause_s=0.5, pad_s=0.25)
"""A long recording is cut into utterances: without timestamps of its own, each becomes a segment."""
NO_LANGUAGE = (
    "The embedded recogniser hears English only; for other languages set STT_ENGINE=whisper (or auto, with a model hub "
    "in reach) or STT_ENGINE=openai."
)

# Fitted on some 200 utterances: eSpeak and flite voices saying sentences inside and outside the grammar, and real read
# speech. In en-us+f2 and flite's slt every sentence that the grammar found rightly passes. Of the rest, one of 19 real
# recordings and two of 16 synthetic ones in the voices that are heard well are taken for a sentence of the grammar
# (`bench/wer_sphinx.py`). Units: 0.001 nat of acoustic score a frame.
LOOP_WEIGHT = 1.5
"""A free loop of phones fits any sound better than words do; its score times this is what a sentence must reach."""
MIN_OVER_LOOP = 0.2
"""A sentence of the grammar that fits worse was not said."""
SURE_OVER_LOOP = 2.0
"""One that fits so well was said: the open model need not be asked."""
MIN_OVER_OPEN = -1.1
"""A sentence of the grammar may fit by so much worse than the open model's words: those were chosen from 130,000."""


@dataclass(frozen=True, slots=True)
class SphinxConfig:
    grammar: str
    """JSGF text."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one search found."""

    text: str
    words: Sequence[Word]
    score: float
    """Acoustic score of the whole clip, in 0.001 nat a frame; comparable between searches of one decoder."""


class SphinxEngine:
    """The synchronous engine. Not for an event loop's process: it holds the GIL while it decodes."""

    def __init__(self, config: SphinxConfig) -> None:
        import pocketsphinx

        self._open = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel="FATAL")
        # A decoder of its own for all that is compared: every senone computed in every frame, so that scores do not
        # depend on what else was active, wide beams, and no lattice search, which would return half sentences.
        self._strict = pocketsphinx.Decoder(
            samprate=RATE_HZ, loglevel="FATAL", lm=None, compallsen=True, bestpath=False,
            beam=1e-80, wbeam=1e-60, pbeam=1e-80,
        )  # fmt: skip
        self._strict.add_jsgf_string("grammar", config.grammar)
        self._strict.add_allphone_file("loop", None)
        speech_spans(np.zeros(RATE_HZ, np.float32))  # a quarter of a second now, or in the first turn
        self.by_open_model(bytes(RATE_HZ // 2))

    def transcribe(
        self, clip: Clip, language: str | None, prompt: str | None, words: bool
    ) -> Iterator[Transcript | None]:
        """See `SpeechToText` and `WorkerFront`. The prompt is ignored: there is nothing to give it to."""
        speech, offset_s = trim(clip, PAD_MS)
        if not len(speech.samples):  # silence is the same in every language
            yield Transcript("", language or "en", clip.seconds)
            return
        if language is not None and language.lower().replace("_", "-").split("-")[0] != "en":
            raise EngineError(NO_LANGUAGE, code="unsupported_language")
        heard = yield from decide(self, speech.pcm16())
        if heard is None:
            yield Transcript("", "en", clip.seconds)
            return
        timed = [Word(w.text, w.start_s + offset_s, w.end_s + offset_s, w.probability) for w in heard.words]
        yield Transcript(heard.text, "en", clip.seconds, words=timed if words else ())

    def segments(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        """See `SpeechToText` and `WorkerFront`. A window is one utterance and gives one segment; English stays as it
        is when it is to be translated into English."""
        yield None
        heard: Transcript | None = None
        for heard in self.transcribe(window, request.language, None, True):
            if heard is None:
                yield None
        if heard is not None and heard.text:
            words = heard.words
            start_s, end_s = (words[0].start_s, words[-1].end_s) if words else (0.0, window.seconds)
            yield Segment(start_s, end_s, heard.text, "en", words if request.words else ())

    def language_of(self, clip: Clip) -> tuple[str, float]:
        """Its own: it knows no other."""
        return "en", 1.0

    def by_grammar(self, pcm: bytes) -> Decoded | None:
        """The best sentence of the grammar; None when not even one could be fitted."""
        self._strict.activate_search("grammar")
        return _decode(self._strict, pcm)

    def by_loop(self, pcm: bytes) -> Decoded | None:
        """The best phones, in any order."""
        self._strict.activate_search("loop")
        return _decode(self._strict, pcm)

    def by_open_model(self, pcm: bytes) -> Decoded | None:
        """The best words of the open language model. Its score is not comparable with the others."""
        return _decode(self._open, pcm)

    def aligned(self, text: str, pcm: bytes) -> Decoded | None:
        """These words laid over the sound, for their score."""
        self._strict.set_align_text(text)
        return _decode(self._strict, pcm)


def decide(engine: SphinxEngine, pcm: bytes) -> Generator[None, None, Decoded | None]:
    """What was said in a clip with speech: a sentence of the grammar or the open model's words; None for neither.

    Yields between the passes, each of which takes a tenth of the clip's length: there it may be cancelled.

    A sentence of the grammar wins when it fits the sound about as well as a free loop of phones does, and about as
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


def _decode(decoder: Any, pcm: bytes) -> Decoded | None:
    """Run the active search over a whole utterance of 16-bit samples at RATE_HZ."""
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)  # the whole clip normalises its own loudness: 31 % errors, 36 % streamed
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
"""The log of the smallest double: what a long word's score is when it is given as 0."""


async def probe(settings: Settings) -> None:
    """Raises EngineUnavailable when the package cannot be imported here."""
    import importlib.util

    if importlib.util.find_spec("pocketsphinx") is None:
        raise EngineUnavailable("pocketsphinx is not installed.", remedy="pip install pocketsphinx")


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Loads in about a second, in a process of its own."""
    from pipeline.llm.builtin import grammar

    spec = EngineSpec("sphinx", "pipeline.stt.sphinx:SphinxEngine", SphinxConfig(grammar()))
    serving = Serving(settings.stt_timeout_s, settings.stt_replicas or 1)
    async with open_worker(spec, settings, serving) as worker:
        yield Opened(WorkerFront(worker, "sphinx", settings.stt_timeout_s, LIMITS), "en-us", "cpu", worker.load, ["en"])
