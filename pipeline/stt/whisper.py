"""Whisper through faster-whisper (CTranslate2): a hundred languages, on a CPU or on CUDA."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.audio import Clip, Samples
from pipeline.engines import Opened, Report
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.listening.vad import speech_spans
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, Transcript, Word, weights
from pipeline.stt.front import WorkerFront
from pipeline.workers import EngineSpec, Serving, open_worker

log = logging.getLogger(__name__)

RATE_HZ = 16_000
WINDOW_S = 30.0
"""What Whisper hears at once."""
PAD_MS = 400
"""Silence kept around the speech; faster-whisper's own choice for its VAD."""
LONG_PAUSE_S = 2.0
"""Whisper invents words in pauses as long as this: they are cut out."""
TEMPERATURES = (0.0, 0.4)
"""A second, freer try when the first one fails the gates below; each costs a whole decoding, so no more."""

# The gates of the Whisper paper (section 4.5), which are the library's defaults.
MAX_NO_SPEECH = 0.6
"""The model's own belief that nobody spoke; beyond it, doubtful text (see MIN_LOGPROB) is dropped."""
MIN_LOGPROB = -1.0
"""Mean log-probability of the tokens, below which text is doubtful."""
MAX_COMPRESSION = 2.4
"""Text that zlib makes so many times smaller goes round in circles."""
HOPELESS_LOGPROB = -2.0
"""Below this no word is likely to be right, whatever the belief in speech: nothing was understood."""


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    folder: str
    """Of the CTranslate2 model."""
    device: str
    """auto, cpu or cuda."""
    compute_type: str
    """auto or CTranslate2's name."""
    threads: int
    """0: as many as pay."""
    beam: int
    context_s: float
    """Least sound encoded, in seconds; 30 is the model's own."""


@dataclass(frozen=True, slots=True)
class Description:
    """What was loaded."""

    device: str
    compute_type: str
    multilingual: bool


def choices(device: str, compute_type: str) -> list[tuple[str, str]]:
    """(device, compute type) to try, best first.

    `auto` on CUDA: float16, then int8_float16 for a model too large for the memory, then the CPU, for a machine with
    a GPU but without CUDA's libraries. Raises EngineUnavailable when CUDA is demanded and not there.
    """
    import ctranslate2

    gpus = ctranslate2.get_cuda_device_count()
    if device == "cuda" and not gpus:
        raise EngineUnavailable("No CUDA device is visible.", remedy="Set WHISPER_DEVICE=cpu, or check the driver.")
    found: list[tuple[str, str]] = []
    for where in ("cuda", "cpu") if device == "auto" and gpus else (("cuda",) if device == "cuda" else ("cpu",)):
        if compute_type != "auto":
            found.append((where, compute_type))
            continue
        supported = ctranslate2.get_supported_compute_types(where)
        wanted = ("float16", "int8_float16", "int8", "float32") if where == "cuda" else ("int8", "float32")
        found += [(where, kind) for kind in wanted if kind in supported]
    return found


class WhisperEngine:
    """The synchronous engine: loads the model and decodes once, so that the first turn is not the slow one."""

    def __init__(self, config: WhisperConfig) -> None:
        self._config = config
        threads = config.threads or min(4, len(os.sched_getaffinity(0)))
        tried = choices(config.device, config.compute_type)
        for device, compute_type in tried:
            try:
                self._model = _load(config.folder, device, compute_type, threads, config.context_s)
                list(self._decode(_warm_up_sound(), FileRequest("en"))[0])
                break
            except (RuntimeError, ValueError) as error:  # CTranslate2: no memory, no cuBLAS, unknown compute type
                if (device, compute_type) == tried[-1]:
                    raise EngineError(f"The Whisper model cannot be loaded: {error}") from error
                log.warning("Whisper does not run on %s with %s: %s", device, compute_type, error)
        self._description = Description(device, compute_type, bool(self._model.model.is_multilingual))

    def describe(self) -> Description:
        return self._description

    def transcribe(
        self, clip: Clip, language: str | None, prompt: str | None, words: bool
    ) -> Iterator[Transcript | None]:
        """See `SpeechToText` and `WorkerFront`; may be cancelled after each segment.

        Text that fails the gates is left out; without speech nothing is decoded at all.
        """
        code = self._language(language)
        sound = clip.at(RATE_HZ).samples
        spans = speech_spans(sound)
        if not spans:
            yield Transcript("", code, clip.seconds)
            return
        pad = PAD_MS * RATE_HZ // 1000
        start = max(0, spans[0].start - pad)
        pauses = [(after.start - before.end) / RATE_HZ for before, after in pairwise(spans)]
        request = FileRequest(code, prompt, words)
        cut = max(pauses, default=0.0) > LONG_PAUSE_S
        segments, info = self._decode(sound[start : spans[-1].end + pad], request, cut=cut)
        kept = []
        for segment in segments:
            yield None
            if _believable(segment):
                kept.append(segment)
        offset_s = start / RATE_HZ
        yield Transcript(
            text="".join(segment.text for segment in kept).strip(),
            # What sounds like no words in any language was not spoken in one.
            language=info.language if kept else code,
            duration_s=clip.seconds,
            language_probability=float(info.language_probability),
            words=[_word(word, offset_s) for segment in kept for word in segment.words or ()],
        )

    def segments(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        """See `SpeechToText` and `WorkerFront`; may be cancelled before each segment. Doubtful text is left out."""
        yield None
        code = self._language(request.language)
        found, info = self._decode(window.at(RATE_HZ).samples, replace(request, language=code), times=True)
        for segment in found:
            if _believable(segment) and segment.text.strip():
                yield _segment(segment, info)
            else:
                yield None

    def _language(self, asked: str | None) -> str | None:
        """The code to decode in, None to detect it. Raises EngineError for a language the model does not know."""
        known = list(self._model.supported_languages)
        if asked is None:
            return "en" if known == ["en"] else None
        code = asked.lower().replace("_", "-").split("-")[0]
        if code not in known:
            what = "This Whisper model hears English only" if known == ["en"] else "Whisper does not know this language"
            raise EngineError(f"{what}; the language asked for is {asked[:20]!r}.", code="unsupported_language")
        return code

    def _decode(
        self, sound: Samples, request: FileRequest, *, times: bool = False, cut: bool = False
    ) -> tuple[Iterable[Any], Any]:
        """Segments (decoded as they are asked for) and info of faster-whisper; `cut` takes long pauses out first."""
        segments, info = self._model.transcribe(
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
        )
        return segments, info


def _believable(segment: Any) -> bool:
    """Whether a segment passes the gates; the library applies them, too, but keeps the text when all tries fail."""
    if segment.compression_ratio > MAX_COMPRESSION or segment.avg_logprob < HOPELESS_LOGPROB:
        return False
    return not (segment.no_speech_prob > MAX_NO_SPEECH and segment.avg_logprob < MIN_LOGPROB)


def _word(word: Any, offset_s: float) -> Word:
    """Plain floats: the library's are numpy's, which JSON does not know."""
    return Word(word.word.strip(), float(word.start) + offset_s, float(word.end) + offset_s, float(word.probability))


def _segment(segment: Any, info: Any) -> Segment:
    return Segment(
        start_s=float(segment.start),
        end_s=float(segment.end),
        text=segment.text.strip(),
        language=info.language,
        words=[_word(word, 0.0) for word in segment.words or ()],
        tokens=[int(token) for token in segment.tokens],
        temperature=float(segment.temperature or 0.0),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        language_probability=float(info.language_probability),
    )


def _warm_up_sound() -> Samples:
    return (np.random.default_rng(0).standard_normal(RATE_HZ) * 0.01).astype(np.float32)


def _load(folder: str, device: str, compute_type: str, threads: int, context_s: float) -> Any:
    """A WhisperModel that encodes each window once, and no more of it than is wanted."""
    from faster_whisper import WhisperModel

    class TurnWhisper(WhisperModel):  # type: ignore[misc]
        """For one spoken turn at a time.

        The library encodes the first window twice when it detects the language: the most expensive step of a turn.
        """

        _last: tuple[Samples, Any] | None = None

        def encode(self, features: Samples) -> Any:
            if self._last is None or not np.array_equal(self._last[0], features):
                self._last = (features, super().encode(_shortened(features, context_s)))
            return self._last[1]

        def detect_language(self, audio: Any = None, features: Any = None, **options: Any) -> Any:
            # Decoding leaves out the last frame: then so does this, and both encode the same window.
            return super().detect_language(audio, None if features is None else features[..., :-1], **options)

    return TurnWhisper(folder, device=device, compute_type=compute_type, cpu_threads=threads)


def _shortened(features: Samples, context_s: float) -> Samples:
    """A window (n_mels, 3000 frames of 10 ms) without the part of its padding that is beyond `context_s`.

    Real models lose accuracy when they hear much less than the 30 s of their training: hence the lower bound.
    """
    if context_s >= WINDOW_S:
        return features
    used = np.flatnonzero(features.any(axis=0))
    frames = max(int(context_s * 100), int(used[-1]) + 1 if used.size else 0)
    return np.ascontiguousarray(features[..., : frames + frames % 2])  # the encoder halves the frames


async def probe(settings: Settings) -> None:
    """Raises EngineUnavailable unless the weights are here or the hub would give them."""
    await weights.check(settings)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Downloads the weights when they are not here, loads and warms up the model in its worker."""
    folder = await weights.fetch(settings, report)
    config = WhisperConfig(
        folder=str(await asyncio.to_thread(folder.resolve)),
        device=settings.whisper_device,
        compute_type=settings.whisper_compute_type,
        threads=settings.whisper_threads,
        beam=settings.whisper_beam,
        context_s=settings.whisper_context_s,
    )
    spec = EngineSpec("whisper", "pipeline.stt.whisper:WhisperEngine", config)
    serving = Serving(settings.stt_timeout_s, settings.stt_replicas)
    async with open_worker(spec, settings, serving) as worker:
        loaded: Description = await worker.call("describe")
        name = settings.whisper_model.rstrip("/").rpartition("/")[2]
        front = WorkerFront(worker, "whisper", settings.stt_timeout_s)
        yield Opened(front, f"{name} ({loaded.compute_type})", loaded.device, worker.load)
