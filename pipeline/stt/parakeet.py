"""NVIDIA's NeMo models through onnx-asr: Parakeet (TDT, RNN-T, CTC) and Canary, on a CPU."""

import asyncio
import importlib.util
import math
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline import stt
from pipeline.audio.clip import Clip, Samples
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.languages import plain_code
from pipeline.listening.vad import Span, speech_spans
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Hinted, Segment, SpeechToText, Spoken, Transcript, WindowLimits, Word
from pipeline.stt import parakeet_weights as weights
from pipeline.stt.lacking import refusal
from pipeline.stt.parakeet_words import segments_of, text_of, tokens_of, words_of
from pipeline.stt.worker_client import GATHER_S, TellingFront, WorkerFront, alone
from pipeline.support.installing import how_to_install
from pipeline.support.progress import Report
from pipeline.workers import EngineSpec, Serving, models_hardware, open_worker

RATE_HZ = 16_000
PAD_MS = 200
"""Silence kept around the speech."""
WINDOW_S = 30.0
"""Longest sound that is encoded at once: the encoder's attention needs memory in proportion to its square."""
SHORTEST_S = 0.1
"""Shorter sound has no word, and the features of a single frame cannot be normalised."""
SIMILAR = 1.5
"""Sounds share a batch if the longest is at most this many times as long as the shortest: all are padded to it."""
MOST_THREADS = 4
MULTILINGUAL_TOKENS = 4_000
"""Parakeet v3 and Canary have at least 8,192 tokens in their vocabulary, the models for one language 1,024."""
EUROPEAN = (
    "bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "lt", "lv", "mt", "nl", "pl", "pt",
    "ro", "ru", "sk", "sl", "sv", "uk",
)  # fmt: skip
"""Languages of Parakeet TDT v3 and Canary v2."""
CANARY = "nemo-conformer-aed"


@dataclass(frozen=True, slots=True)
class ParakeetConfig:
    folder: str
    """Folder of the model, see `parakeet_weights`."""
    languages: tuple[str, ...]
    """Languages of the model; empty: unknown."""
    threads: int
    """CPU threads."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Sound that is encoded at once."""

    sound: Samples
    """Samples at RATE_HZ."""
    start_s: float
    """Its start in the clip."""
    language: str | None
    translate: bool = False


class ParakeetEngine:
    """The synchronous engine. Loads the model and decodes once, so that the first turn is not the slow one.

    A prompt is ignored, because these models take none.
    """

    def __init__(self, config: ParakeetConfig) -> None:
        import onnx_asr
        import onnxruntime

        folder = Path(config.folder)
        self._languages = config.languages
        self._kind = weights.type_of(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads
        try:
            self._model = onnx_asr.load_model(
                self._kind,
                folder,
                quantization=weights.quantization_of(folder),
                sess_options=options,
                providers=["CPUExecutionProvider"],
            ).with_timestamps()
            self._recognised([_Window(np.zeros(RATE_HZ, np.float32), 0.0, None)])
        except Exception as error:  # onnxruntime's errors have no common class
            reason = " ".join(str(error).split())[:200]
            raise EngineError(f"The model {folder.name} cannot be loaded: {reason}") from error
        speech_spans(np.zeros(RATE_HZ, np.float32))  # loads the VAD

    def transcribe(self, clip: Clip, language: Spoken, prompt: Hinted, words: bool) -> Iterator[Transcript | None]:
        """See `SpeechToText` and `WorkerFront`; can be cancelled between windows. Without speech nothing is decoded."""
        yield from alone(self.transcribe_many([(clip, language, prompt, words)], lambda index: False))

    def transcribe_many(
        self, calls: Sequence[tuple[Clip, Spoken, Hinted, bool]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, Transcript | Exception | None]]:
        """Transcribe for several speakers at once (see `pipeline.workers.run_calls`): windows of similar length share a
        batch."""
        windows: dict[int, list[_Window]] = {}
        codes: dict[int, str | None] = {}
        for index, (clip, language, _, _) in enumerate(calls):
            try:
                codes[index] = self._language(self._one_of(language) if isinstance(language, tuple) else language)
            except EngineError as error:
                yield index, error
                continue
            windows[index] = _windows(clip, codes[index])
        found = yield from self._found(windows, cancelled)
        for index, all_words in found.items():
            if not cancelled(index):
                clip, _, _, wanted = calls[index]
                yield (
                    index,
                    Transcript(
                        text_of(all_words), codes[index], clip.seconds, words=tuple(all_words) if wanted else ()
                    ),
                )

    def segments(self, window: Clip, request: FileRequest) -> Iterator[Segment | None]:
        """See `SpeechToText` and `WorkerFront`."""
        yield from alone(self.segments_many([(window, request)], lambda index: False))

    def segments_many(
        self, calls: Sequence[tuple[Clip, FileRequest]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, Segment | Exception | None]]:
        """Transcribe several windows of recordings at once. Temperature is ignored: these models have none."""
        windows: dict[int, list[_Window]] = {}
        codes: dict[int, str | None] = {}
        for index, (window, request) in enumerate(calls):
            yield index, None
            try:
                codes[index] = self._language(request.language or self._one_of(request.languages))
                if request.translate and self._kind != CANARY and codes[index] != "en":  # English is translated already
                    raise EngineError(NO_TRANSLATION, code="unsupported_language")
            except EngineError as error:
                yield index, error
                continue
            windows[index] = [replace(one, translate=request.translate) for one in _windows(window, codes[index])]
        found = yield from self._found(windows, cancelled)
        for index, all_words in found.items():
            if not cancelled(index):
                for segment in segments_of(all_words, codes[index], calls[index][1].words):
                    yield index, segment

    def language_of(self, clip: Clip) -> tuple[str, float]:
        """See `TellsLanguage`; for a model with one language, because others do not tell."""
        return self._languages[0], 1.0

    def _one_of(self, languages: Sequence[str]) -> str | None:
        """Return the language to transcribe: None if the model must find it out, an unknown one if it knows none of
        them."""
        known = [code for code in languages if code in self._languages] if self._languages else list(languages)
        if len(known) == 1 or (known and self._kind == CANARY):
            return known[0]
        return languages[0] if languages and not known else None

    def _language(self, asked: str | None) -> str | None:
        """Return the language to transcribe. Raises EngineError (unsupported_language)."""
        if asked is None:
            # Canary needs one; Parakeet v3 finds out by itself, but does not tell.
            return self._languages[0] if len(self._languages) == 1 else "en" if self._kind == CANARY else None
        if (message := refusal("This model", self._languages, [asked])) is not None:
            raise EngineError(message, code="unsupported_language")
        return plain_code(asked)

    def _found(
        self, windows: dict[int, list[_Window]], cancelled: Callable[[int], bool]
    ) -> Generator[tuple[int, None], None, dict[int, list[Word]]]:
        """Return the words of each call; yield (call, None) before each batch."""
        found: dict[int, list[Word]] = {index: [] for index in windows}
        for index, words in self._words(windows, cancelled):
            if words is None:
                yield index, None
            else:
                found[index] += words
        return found

    def _words(
        self, windows: dict[int, list[_Window]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, list[Word] | None]]:
        """Yield (call, its next words) in order, and (call, None) before each batch, where all can be cancelled."""
        for place in range(max(map(len, windows.values()), default=0)):
            waiting = {index: own[place] for index, own in windows.items() if place < len(own)}
            for group in _alike(waiting):
                wanted = [index for index in group if not cancelled(index)]
                if not wanted:
                    continue
                yield wanted[0], None
                wanted = [index for index in wanted if not cancelled(index)]
                if wanted:
                    results = self._recognised([waiting[index] for index in wanted])
                    yield from zip(wanted, results, strict=True)

    def _recognised(self, batch: Sequence[_Window]) -> list[list[Word]]:
        """Recognise windows of one language."""
        options: dict[str, str] = {}
        if self._kind == CANARY and batch[0].language is not None:
            options = {"language": batch[0].language, "target_language": batch[0].language}
            if batch[0].translate:
                options["target_language"] = "en"
        results = self._model.recognize([one.sound for one in batch], sample_rate=RATE_HZ, **options)
        return [
            words_of(tokens_of(result), one.start_s, one.start_s + len(one.sound) / RATE_HZ)
            for one, result in zip(batch, results, strict=True)
        ]


NO_TRANSLATION = "Parakeet does not translate; use Whisper, or Canary in STT_MODEL."


def _windows(clip: Clip, language: str | None) -> list[_Window]:
    """Cut the speech of a clip into windows of at most WINDOW_S, in pauses where there are some."""
    sound = clip.at(RATE_HZ).samples
    pad, longest = PAD_MS * RATE_HZ // 1000, int(WINDOW_S * RATE_HZ)
    joined: list[Span] = []
    for span in speech_spans(sound):
        start, end = max(0, span.start - pad), min(len(sound), span.end + pad)
        if joined and end - joined[-1].start <= longest:
            joined[-1] = Span(joined[-1].start, end)
        else:
            start = max(start, joined[-1].end) if joined else start
            parts = max(1, math.ceil((end - start) / longest))
            edges = [start + (end - start) * part // parts for part in range(parts + 1)]
            joined += [Span(edges[part], edges[part + 1]) for part in range(parts)]
    return [
        _Window(sound[one.start : one.end], one.start / RATE_HZ, language)
        for one in joined
        if one.end - one.start >= SHORTEST_S * RATE_HZ
    ]


def _alike(windows: dict[int, _Window]) -> list[list[int]]:
    """Group windows of one language and similar length."""
    groups: dict[object, list[int]] = {}
    for index in sorted(windows, key=lambda index: len(windows[index].sound)):
        one = windows[index]
        step = int(math.log(len(one.sound), SIMILAR))
        groups.setdefault((one.language, one.translate, step), []).append(index)
    return list(groups.values())


def languages_of(folder: Path) -> tuple[str, ...]:
    """Return the languages of a model, from its vocabulary and its name; empty: unknown."""
    with (folder / "vocab.txt").open(encoding="utf-8") as file:
        tokens = sum(1 for _ in file)
    if tokens >= MULTILINGUAL_TOKENS:
        return EUROPEAN
    return ("en",) if "parakeet" in folder.resolve().name.lower() else ()


async def probe(settings: Settings) -> None:
    """Raise EngineUnavailable unless onnx-asr is installed and the weights are here or the hub has them."""
    if importlib.util.find_spec("onnx_asr") is None:
        raise EngineUnavailable("onnx-asr is not installed.", remedy=how_to_install("parakeet"))
    await weights.check(settings)


@asynccontextmanager
async def open_engine(settings: Settings, report: Report) -> AsyncIterator[Opened[SpeechToText]]:
    """Download the weights if necessary; load and warm up the model in its worker."""
    await probe(settings)
    folder = await asyncio.to_thread((await weights.fetch(settings, report)).resolve)
    hardware = await models_hardware(settings)
    replicas = settings.stt_replicas or 1
    languages = await asyncio.to_thread(languages_of, folder)
    translates = await asyncio.to_thread(weights.type_of, folder) == CANARY or list(languages) == ["en"]
    threads = max(1, min(MOST_THREADS, hardware.cores // replicas))
    batch = settings.stt_batch or 1
    serving = Serving(
        stt.TIMEOUT_S,
        replicas,
        batched=frozenset({"transcribe", "segments"}),
        batch=batch,
        file_batch=batch,
        gather_s=GATHER_S,
    )
    spec = EngineSpec(
        "parakeet", "pipeline.stt.parakeet:ParakeetEngine", ParakeetConfig(str(folder), languages, threads)
    )
    kind = weights.quantization_of(folder) or "float32"
    name = weights.model_name(settings).rstrip("/").rpartition("/")[2]
    async with open_worker(spec, settings, serving) as worker:
        front_of = TellingFront if len(languages) == 1 else WorkerFront
        front = front_of(worker, "parakeet", WindowLimits(WINDOW_S, batch=batch))
        yield Opened(front, f"{name} ({kind})", "cpu", worker.load, languages, name, kind, translates=translates)
