"""faster-whisper's model as the engine uses it. Each window is encoded once, and only as far as necessary; short
utterances of several speakers are decoded together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.stt.whisper_types import AlignedWord, Encoded, Generated, Search, SplitSegment, Tokenizer, WhisperModel

WINDOW_S = 30.0
"""Length of Whisper's window, in seconds."""
SURE_OF_LANGUAGE = 0.8
"""Probability from which a window of a recording is in another language than expected. Base is sure of 3 s of English
or German speech with 0.93 and more, and takes half a second of English for Russian with 0.56."""
MARGIN_FRAMES = 100
"""Silence kept after the sound in a shortened window, in frames of 10 ms. If the sound reaches the end of a window
shorter than 30 s, Whisper repeats itself or writes nothing. Word errors of tiny.en and base on recordings, by this
margin: 0 s: 35 and 28 %; 0.2 s: 4.5 and 37 %; 0.5 s: 4.7 and 5.2 %; 1 s: 4.7 and 5.2 %, as at 30 s."""
TEMPERATURES = (0.0, 0.4)
"""The second, freer try follows if the first fails the gates below. Each costs a whole decoding: hence only two."""
BEST_OF = 5
"""Number of samples of the freer try, of which the likeliest is used; the library's default."""

# The gates of the Whisper paper (section 4.5), which are the library's defaults.
MAX_NO_SPEECH = 0.6
"""Limit for the model's probability that there is no speech; above it, doubtful text (see MIN_LOGPROB) is dropped."""
MIN_LOGPROB = -1.0
"""Minimum mean log-probability of the tokens; text below it is doubtful."""
FEW_TOKENS = frozenset(["en", "es", "pt", "fr", "de", "it", "nl", "sv", "da", "no", "pl", "ca", "gl", "ro", "ru"])
"""Languages with at most 10 tokens a second, so that a short window needs only its share of 448 tokens for 30 s.
Bengali or Georgian have 30 a second."""
MAX_COMPRESSION = 2.4
"""Maximum compression ratio (zlib); text above it repeats itself."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech that fits into one window, to be transcribed without times."""

    features: Samples
    """Features of the sound, from `features_of`: (n_mels, frames of 10 ms)."""
    language: str | None
    """Whisper's code; None: detect it."""
    prompt: tuple[int, ...]
    """Tokens of the hint before the transcript."""
    keyworded: tuple[int, ...] = ()
    """Tokens of another hint, with keywords, for a second transcript; empty: none."""
    task: str = "transcribe"
    """transcribe or translate."""
    times: bool = False
    """Whether to transcribe with the times of segments."""
    expected: str | None = None
    """Code of the language if the detection is not sure of another one; None: the likeliest."""
    allowed: tuple[str, ...] = ()
    """Codes of the languages that can be detected; empty: all."""

    @property
    def kind(self) -> tuple[object, ...]:
        """Values that must be equal in a batch: CTranslate2 takes one length of sound and one of prompt."""
        return self.features.shape[-1], len(self.prompt), len(self.keyworded), self.task, self.times


@dataclass(frozen=True, slots=True)
class Heard:
    """The transcript of one utterance; the names are those of the library's segments."""

    text: str
    language: str
    language_probability: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    tokens: Sequence[int]
    temperature: float
    keyworded: str = ""
    """The second transcript, with keywords; empty if none was asked for, or if the first one has no words."""

    @property
    def doubtful(self) -> bool:
        """Whether a freer try may give a better result; not if there seems to be no speech."""
        unsure = self.avg_logprob < MIN_LOGPROB
        return (unsure or self.compression_ratio > MAX_COMPRESSION) and not (
            unsure and self.no_speech_prob > MAX_NO_SPEECH
        )


def load(folder: str, device: str, compute_type: str, threads: int, context_s: float) -> WhisperModel:
    """Load a WhisperModel that encodes each window once, and only as far as necessary."""
    import faster_whisper

    class TurnWhisper(faster_whisper.WhisperModel):  # type: ignore[misc]
        """Caches the encoded window: the library encodes the first one twice when it detects the language, its most
        expensive step."""

        context_s: float
        """Minimum length of sound to encode, in seconds."""
        _last: tuple[Samples, Encoded] | None = None
        expected: str | None = None
        """Language of the sound if the detection is not sure of another one; None: the likeliest."""
        allowed: tuple[str, ...] = ()
        """Languages that can be detected; empty: all."""
        known_alignment: list[list[AlignedWord]] | None = None
        """Alignment of words and sound that was made for a whole batch; returned to the library's next request."""

        def find_alignment(self, *rest: object, **options: object) -> list[list[AlignedWord]]:
            known, self.known_alignment = self.known_alignment, None
            return super().find_alignment(*rest, **options) if known is None else known

        def add_word_timestamps(self, segments: list[list[SplitSegment]], *rest: object, **options: object) -> float:
            # The library moves a segment to the times of its words, and drops it with its text if those have shrunk to
            # one moment, as those of a single short word can.
            before = [(one, one["start"], one["end"]) for window in segments for one in window]
            result: float = super().add_word_timestamps(segments, *rest, **options)
            for segment, start, end in before:
                if segment["end"] <= segment["start"]:
                    segment["start"], segment["end"] = start, end
            return result

        def encode(self, features: Samples) -> Encoded:
            if self._last is None or not np.array_equal(self._last[0], features):
                self._last = (features, super().encode(shortened(features, self.context_s)))
            return self._last[1]

        def detect_language(
            self, audio: Samples | None = None, features: Samples | None = None, **options: object
        ) -> tuple[str, float, Sequence[tuple[str, float]]]:
            # Decoding leaves out the last frame. Doing the same here lets both encode the same window.
            detected: Sequence[tuple[str, float]]
            features = None if features is None else features[..., :-1]
            *_, detected = super().detect_language(audio, features, **options)
            return *_language(detected, self.expected, self.allowed), detected

    model = TurnWhisper(folder, device=device, compute_type=compute_type, cpu_threads=threads)
    model.context_s = context_s
    return model


def shortened(features: Samples, context_s: float) -> Samples:
    """Cut the padding of a window (n_mels, 3000 frames of 10 ms): keep `context_s`, and MARGIN_FRAMES after the sound.

    Real models lose accuracy with much less than the 30 s of their training: hence the lower bound.
    """
    if context_s >= WINDOW_S:
        return features
    used = np.flatnonzero(features.any(axis=0))
    frames = max(int(context_s * 100), (int(used[-1]) + 1 if used.size else 0) + MARGIN_FRAMES)
    return np.ascontiguousarray(features[..., : frames + frames % 2])  # the encoder halves the frames


def features_of(model: WhisperModel, sound: Samples) -> Samples:
    """Return the encoder's input for a sound (16 kHz, at most 30 s), computed as the library does."""
    from faster_whisper.audio import pad_or_trim

    return shortened(pad_or_trim(model.feature_extractor(sound)[:, :-1]), model.context_s)


def language_of(model: WhisperModel, features: Samples) -> tuple[str, float]:
    """Return the likeliest language of a window from `features_of`, as Whisper's code, and its probability."""
    from ctranslate2 import StorageView

    encoded = model.model.encode(StorageView.from_array(np.ascontiguousarray(features[None])))
    return _language(_codes(model.model.detect_language(encoded)[0]), None, ())


def _codes(detected: Sequence[tuple[str, float]]) -> Sequence[tuple[str, float]]:
    return [(token[2:-2], float(probability)) for token, probability in detected]


def _language(detected: Sequence[tuple[str, float]], expected: str | None, allowed: Sequence[str]) -> tuple[str, float]:
    """Return the language to decode in, and its probability among those that are allowed. detected: codes, the
    likeliest first. allowed: empty: all."""
    if allowed:
        possible = [(code, probability) for code, probability in detected if code in allowed]
        total = sum(probability for _, probability in possible) or 1.0
        detected = [(code, probability / total) for code, probability in possible]
    code, probability = detected[0]
    probabilities = dict(detected)
    if expected is None or expected not in probabilities or probability >= SURE_OF_LANGUAGE:
        return code, probability
    return expected, probabilities[expected]


def hear(
    model: WhisperModel, utterances: Sequence[Utterance], *, beam: int, cancelled: Callable[[int], bool]
) -> Iterator[tuple[int, Heard | None]]:
    """Decode utterances. Those of one shape are decoded together, each with the result that it would have alone.

    Yields (index, Heard) for each that was not cancelled, and (index, None) in between, where all can be cancelled.
    """
    groups: dict[object, list[int]] = {}
    for index, one in enumerate(utterances):
        groups.setdefault(one.kind, []).append(index)
    for group in groups.values():
        wanted = [index for index in group if not cancelled(index)]
        if wanted:
            for place, heard in _together(model, [utterances[index] for index in wanted], beam):
                yield wanted[place], heard


def _together(model: WhisperModel, utterances: Sequence[Utterance], beam: int) -> Iterator[tuple[int, Heard | None]]:
    batch = Batch(model, utterances, beam)
    yield 0, None  # encoding is the longer half: a chance to cancel after it
    batch.prepare()
    heard: dict[int, Heard] = {}
    for place, one in batch.tries():
        yield place, None if one is not None and utterances[place].keyworded else one
        if one is not None:
            heard[place] = one
    yield from batch.with_keywords(heard)


class Batch:
    """Sounds of one shape that are encoded and decoded together."""

    def __init__(self, model: WhisperModel, utterances: Sequence[Utterance], beam: int) -> None:
        """Encode the utterances."""
        self._model, self._utterances, self._beam = model, utterances, beam
        self.encoded = _encoded(model, [one.features for one in utterances])
        self.tokenizers: list[Tokenizer] = []
        """One of each member's language, after `prepare`."""
        self._languages: list[tuple[str, float]] = []
        self._prompts: list[list[int]] = []

    def prepare(self) -> None:
        """Detect the languages that were not given, and make the prompts."""
        from faster_whisper.tokenizer import Tokenizer

        model, utterances = self._model, self._utterances
        self._languages = [(one.language or "en", 1.0) for one in utterances]
        if any(one.language is None for one in utterances):
            detected = model.model.detect_language(self.encoded)
            for place, one in enumerate(utterances):
                if one.language is None:
                    self._languages[place] = _language(_codes(detected[place]), one.expected, one.allowed)
        multilingual = model.model.is_multilingual
        self.tokenizers = [
            Tokenizer(model.hf_tokenizer, multilingual, one.task, code)
            for one, (code, _) in zip(utterances, self._languages, strict=True)
        ]
        self._prompts = [self._prompt(place, one.prompt, times=one.times) for place, one in enumerate(utterances)]

    def tries(self) -> Iterator[tuple[int, Heard | None]]:
        """Yield (place, result) for each, and (place, None) before each further try, where all can be cancelled."""
        tries = {place: [heard] for place, heard in enumerate(self._written(range(len(self._utterances)), 0.0))}
        for place, done in tries.items():
            if not done[0].doubtful:
                yield place, done[0]
        for temperature in TEMPERATURES[1:]:
            for place, done in tries.items():
                if done[-1].doubtful:
                    yield place, None
                    done += self._written([place], temperature)
                    if not done[-1].doubtful:
                        yield place, done[-1]
        for place, done in tries.items():
            if done[-1].doubtful:
                straight = [heard for heard in done if heard.compression_ratio <= MAX_COMPRESSION]
                yield place, max(straight or done, key=lambda heard: heard.avg_logprob)

    def with_keywords(self, heard: Mapping[int, Heard]) -> Iterator[tuple[int, Heard]]:
        """Yield (place, result) with the second transcript for each member that has keywords; it costs no encoding."""
        wanted = [place for place in sorted(heard) if self._utterances[place].keyworded]
        speaking = [place for place in wanted if heard[place].text]
        texts: dict[int, str] = {}
        for places in [speaking] if len(speaking) == len(self._utterances) else [[place] for place in speaking]:
            prompts = [self._prompt(place, self._utterances[place].keyworded, times=False) for place in places]
            # Names have more tokens than other words.
            most = 2 * max(len(heard[place].tokens) for place in places) + 10
            texts |= zip(places, (one.text for one in self._decoded(places, prompts, most, 0.0)), strict=True)
        for place in wanted:
            yield place, replace(heard[place], keyworded=texts.get(place, ""))

    def _prompt(self, place: int, hint: Sequence[int], *, times: bool) -> list[int]:
        return self._model.get_prompt(self.tokenizers[place], list(hint), without_timestamps=not times)

    def _written(self, places: Sequence[int], temperature: float) -> list[Heard]:
        frames = self._utterances[0].features.shape[-1]
        bounded = all(self._languages[place][0] in FEW_TOKENS for place in places)
        share = frames / (WINDOW_S * 100) if bounded else 1.0
        prompts = [self._prompts[place] for place in places]
        return self._decoded(places, prompts, int(self._model.max_length * share), temperature)

    def _decoded(self, places: Sequence[int], prompts: list[list[int]], most: int, temperature: float) -> list[Heard]:
        """Decode all members, or one. most: limit of tokens."""
        sound = self.encoded if len(places) == len(self._utterances) else self.alone(places[0])
        results = _generate(self._model, sound, most, prompts, self.tokenizers[0], self._beam, temperature)
        return [
            _heard(result, self.tokenizers[place], *self._languages[place], temperature)
            for place, result in zip(places, results, strict=True)
        ]

    def alone(self, place: int) -> Encoded:
        """Return the encoder's output for one member."""
        from ctranslate2 import StorageView

        if self.encoded.device == "cpu":
            alone: Encoded = StorageView.from_array(np.ascontiguousarray(np.asarray(self.encoded)[place : place + 1]))
            return alone
        # Encoding again is cheaper than copying to the CPU.
        return _encoded(self._model, [self._utterances[place].features])


def _encoded(model: WhisperModel, windows: Sequence[Samples]) -> Encoded:
    """Encode windows of one length."""
    from ctranslate2 import StorageView

    if model.model.device != "cpu" or len(windows) == 1:
        return model.model.encode(StorageView.from_array(np.stack(windows)))
    # One after the other: a whole batch does not fit into the processor's cache, and takes 1.5 times as long.
    each = [np.asarray(model.model.encode(StorageView.from_array(window[None]))) for window in windows]
    together: Encoded = StorageView.from_array(np.concatenate(each))
    return together


def _generate(
    model: WhisperModel,
    encoded: Encoded,
    most: int,
    prompts: list[list[int]],
    tokenizer: Tokenizer,
    beam: int,
    temperature: float,
) -> Sequence[Generated]:
    """Call CTranslate2 once, with the library's own options, and at most this many tokens: a model that repeats itself
    goes on until the limit."""
    from faster_whisper.transcribe import get_suppressed_tokens

    beams: Search = {"beam_size": beam, "patience": 1.0}
    free: Search = {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": temperature}
    return model.model.generate(
        encoded,
        prompts,
        max_length=min(model.max_length, len(prompts[0]) + most),
        return_scores=True,
        return_no_speech_prob=True,
        suppress_blank=True,
        suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
        **(free if temperature else beams),
    )


def _heard(
    result: Generated, tokenizer: Tokenizer, language: str, language_probability: float, temperature: float
) -> Heard:
    from faster_whisper.transcribe import get_compression_ratio

    tokens = result.sequences_ids[0]
    text = tokenizer.decode(tokens).strip()
    return Heard(
        text=text,
        language=language,
        language_probability=language_probability,
        # The score is the mean over the tokens without the end of the text, which the library counts.
        avg_logprob=float(result.scores[0]) * len(tokens) / (len(tokens) + 1),
        no_speech_prob=float(result.no_speech_prob),
        compression_ratio=get_compression_ratio(text),
        tokens=tokens,
        temperature=temperature,
    )
