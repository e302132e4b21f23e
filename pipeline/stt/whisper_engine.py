"""The Whisper engine in its worker: faster-whisper (CTranslate2), on a CPU or on CUDA."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError
from pipeline.languages import plain_code
from pipeline.stt import FileRequest, Hinted, Segment, Spoken, Transcript
from pipeline.stt.lacking import refusal
from pipeline.stt.short_context import Known, agree
from pipeline.stt.spelling import spelled, spelled_segments
from pipeline.stt.whisper_hints import Hint, hint_of, misled
from pipeline.stt.whisper_model import (
    MAX_COMPRESSION,
    MAX_NO_SPEECH,
    MIN_LOGPROB,
    TEMPERATURES,
    WINDOW_S,
    Utterance,
    features_of,
    hear,
    language_of,
    load,
)
from pipeline.stt.whisper_results import is_believable, segments_of, transcript_of, word_of
from pipeline.stt.whisper_speech import RATE_HZ, Speech, speech_of
from pipeline.stt.whisper_types import FoundSegment, LanguageInfo
from pipeline.stt.whisper_windows import Asked, Pass, first_pass
from pipeline.stt.worker_client import alone, last

log = logging.getLogger(__name__)


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
    keywords: tuple[str, ...] = ()
    """Names and words that may be spoken in any call."""


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
        self._keywords: tuple[str, ...] = ()
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
        self._keywords = config.keywords  # after the check: they could change a text that the model must understand
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

    def transcribe(self, clip: Clip, language: Spoken, prompt: Hinted, words: bool) -> Iterator[Transcript | None]:
        """See `SpeechToText` and `WorkerFront`; can be cancelled between encoding and decoding.

        Text that fails the gates is left out. Without speech nothing is decoded.
        """
        yield from alone(self.transcribe_many([(clip, language, prompt, words)], lambda index: False))

    def transcribe_many(
        self, calls: Sequence[tuple[Clip, Spoken, Hinted, bool]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, Transcript | Exception | None]]:
        """Transcribe for several speakers at once (see `pipeline.workers.run_calls`). Short utterances are decoded
        together, each with the transcript that it would have alone; the others follow one by one."""
        short: dict[int, Speech] = {}
        others: dict[int, Speech] = {}
        for index, (clip, language, prompt, words) in enumerate(calls):
            try:
                speech = speech_of(clip, self._spoken(FileRequest.of(language, prompt, words)))
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
                self._hint(_plain(speech.request)).tokens,
                self._keyworded_hint(speech.request),
                allowed=speech.request.languages,
            )
            for speech in short.values()
        ]
        indices = list(short)
        for place, heard in hear(
            self._model, utterances, beam=self._config.beam, cancelled=lambda place: cancelled(indices[place])
        ):
            index = indices[place]
            if heard is None:
                yield index, None
                continue
            speech = short[index]
            transcript = transcript_of(heard, language=speech.request.language, duration_s=speech.duration_s)
            if speech.request.prompt and misled([transcript.text]):
                yield from ((index, step) for step in self._without_prompt(speech))
            else:
                yield index, spelled(transcript, heard.keyworded, speech.request.keywords)
        for index, speech in others.items():
            if not cancelled(index):
                for step in self._long(speech):
                    yield index, step

    def _long(self, speech: Speech) -> Iterator[Transcript | None]:
        """Decode what needs several windows, long pauses cut out, or word times. Can be cancelled at each segment."""
        segments, info = self._decode(speech.sound, _plain(speech.request), cut=speech.cut)
        kept = []
        for segment in segments:
            yield None
            if is_believable(segment):
                kept.append(segment)
        if speech.request.prompt and misled([segment.text for segment in kept]):
            yield from self._without_prompt(speech)
            return
        transcript = Transcript(
            text="".join(segment.text for segment in kept).strip(),
            # Sound without recognisable words has no detected language.
            language=info.language if kept else speech.request.language,
            duration_s=speech.duration_s,
            language_probability=float(info.language_probability),
            words=[word_of(word, speech.start_s) for segment in kept for word in segment.words or ()],
        )
        if kept and speech.request.keywords:
            hinted = yield from self._keyworded(speech.sound, speech.request, info.language, cut=speech.cut)
            transcript = spelled(transcript, hinted, speech.request.keywords)
        yield transcript

    def _without_prompt(self, speech: Speech) -> Iterator[Transcript | None]:
        """Decode with the full context and without the prompt, which has misled the model."""
        with self._full_context():
            yield from self._long(replace(speech, request=replace(speech.request, prompt=None)))

    def _keyworded(
        self, sound: Samples, request: FileRequest, language: str | None, *, cut: bool = False
    ) -> Generator[None, None, str]:
        """Return a second transcript, which is made with the keywords. Can be cancelled at each segment."""
        segments, _ = self._decode(sound, replace(request, language=language, words=False), cut=cut)
        text = ""
        for segment in segments:
            yield None
            text += segment.text
        return text

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
        requests: dict[int, FileRequest] = {}
        for index, (window, request) in enumerate(calls):
            try:
                request = requests[index] = self._spoken(request)
            except EngineError as error:
                yield index, error
                continue
            sound = window.at(RATE_HZ).samples
            if request.temperature or len(sound) > WINDOW_S * RATE_HZ:
                others.append(index)
            else:
                task = "translate" if request.translate else "transcribe"
                together[index] = Asked(
                    sound,
                    request.language,
                    self._hint(_plain(request)).tokens,
                    request.words,
                    task,
                    self._keyworded_hint(request),
                    request.batch_size,
                    request.expected,
                    request.languages,
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
            for segment in self._window(together[index].sound, requests[index], found):
                if cancelled(index):
                    break
                yield index, segment
        for index in others:
            if not cancelled(index):
                sound = calls[index][0].at(RATE_HZ).samples
                yield from ((index, segment) for segment in self._alone(sound, requests[index]))

    def _window(self, sound: Samples, request: FileRequest, found: Pass) -> Iterator[Segment | None]:
        """Yield the segments of a window after its first pass."""
        plain = _plain(request)
        if not (request.prompt or request.keywords):
            yield from self._completed(sound, plain, found)
            return
        segments = yield from _collected(self._completed(sound, plain, found))
        if request.prompt and misled([segment.text for segment in segments]):
            with self._full_context():
                segments = yield from _collected(self._by_library(sound, replace(plain, prompt=None)))
        yield from spelled_segments(segments, found.keyworded, request.keywords)

    def _alone(self, sound: Samples, request: FileRequest) -> Iterator[Segment | None]:
        """Transcribe a window alone: a long one, or one with a sampling temperature."""
        if not request.keywords:
            yield from self._by_library(sound, request)
            return
        segments = yield from _collected(self._by_library(sound, _plain(request)))
        if segments:
            hinted = yield from self._keyworded(sound, request, segments[0].language)
            yield from spelled_segments(segments, hinted, request.keywords)

    def _completed(self, sound: Samples, request: FileRequest, found: Pass) -> Iterator[Segment | None]:
        """Yield the segments of the first pass, and of the second one if the window needs it."""
        if found.repeats and self.context_s < WINDOW_S:
            with self._full_context():
                yield from self._by_library(sound, request)
            return
        yield from segments_of(found.segments, found, len(sound) / RATE_HZ)
        if found.rest_s is not None:
            request = replace(request, language=found.language, prompt=None)
            rest, _ = self._decode(sound, request, times=True, start_s=found.rest_s)
            yield from segments_of(rest, found, len(sound) / RATE_HZ)

    def _by_library(self, sound: Samples, request: FileRequest) -> Iterator[Segment | None]:
        """Transcribe a window as the library does."""
        found, info = self._decode(sound, request, times=True)
        yield from segments_of(found, info, len(sound) / RATE_HZ)

    def language_of(self, clip: Clip) -> tuple[str, float]:
        """Return the likeliest language of at most 30 s of any sound, and its probability."""
        sound = clip.at(RATE_HZ).samples[: int(WINDOW_S * RATE_HZ)]
        code = self._language(None)
        if code is not None:
            return code, 1.0
        return language_of(self._model, features_of(self._model, sound))

    def _spoken(self, request: FileRequest) -> FileRequest:
        """Return the request with the codes of its languages, and with all keywords. Raises EngineError if the model
        knows none of the languages."""
        request = replace(request, keywords=(*request.keywords, *self._keywords))
        if request.language is not None or not request.languages:
            return replace(request, language=self._language(request.language), languages=())
        known = set(self._model.supported_languages)
        allowed = tuple(code for code in request.languages if code in known)
        if len(allowed) > 1:
            return replace(request, languages=allowed)
        return replace(request, language=self._language((*allowed, *request.languages)[0]), languages=())

    def _hint(self, request: FileRequest) -> Hint:
        return hint_of(self._model, request.prompt, request.keywords)

    def _keyworded_hint(self, request: FileRequest) -> tuple[int, ...]:
        """Return the tokens for the transcript with keywords; none without keywords."""
        return self._hint(request).tokens if request.keywords else ()

    def _language(self, asked: str | None) -> str | None:
        """Return the code to decode in, None to detect it. Raises EngineError for a language that the model lacks."""
        known = list(self._model.supported_languages)
        if asked is None:
            return "en" if known == ["en"] else None
        if (message := refusal("This Whisper model", known, [asked])) is not None:
            raise EngineError(message, code="unsupported_language")
        return plain_code(asked)

    def _decode(
        self, sound: Samples, request: FileRequest, *, times: bool = False, cut: bool = False, start_s: float = 0.0
    ) -> tuple[Iterable[FoundSegment], LanguageInfo]:
        """Return the segments (decoded lazily) and the info of faster-whisper. `cut` removes long pauses first; sound
        before `start_s` is not decoded."""
        self._model.expected, self._model.allowed = request.expected, request.languages
        hint = self._hint(request)
        return self._model.transcribe(
            sound,
            language=request.language,
            task="translate" if request.translate else "transcribe",
            beam_size=self._config.beam,
            temperature=list(TEMPERATURES) if not request.temperature else [request.temperature],
            initial_prompt=hint.prompt_tokens or None,
            hotwords=hint.keywords or None,
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


def _plain(request: FileRequest) -> FileRequest:
    """Return a request without its keywords."""
    return replace(request, keywords=())


def _collected(steps: Iterator[Segment | None]) -> Generator[None, None, list[Segment]]:
    """Return all segments; stop at each."""
    found: list[Segment] = []
    for step in steps:
        yield None
        if step is not None:
            found.append(step)
    return found


def _warm_up_sound() -> Samples:
    return (np.random.default_rng(0).standard_normal(RATE_HZ) * 0.01).astype(np.float32)
