"""The parts of faster-whisper and CTranslate2 that the engine uses: neither library has types of its own."""

from collections.abc import Iterable, Sequence
from typing import NotRequired, Protocol, TypedDict, Unpack

from pipeline.audio.clip import Samples


class Encoded(Protocol):
    """The encoder's output for a batch of windows (`ctranslate2.StorageView`)."""

    @property
    def device(self) -> str: ...


class Generated(Protocol):
    """The hypotheses for one member of a batch, best first."""

    sequences_ids: Sequence[Sequence[int]]
    scores: Sequence[float]
    no_speech_prob: float


class Search(TypedDict, total=False):
    """Options of a search: by beams, or by sampling."""

    beam_size: int
    patience: float
    num_hypotheses: int
    sampling_topk: int
    sampling_temperature: float


class Translator(Protocol):
    """`ctranslate2.models.Whisper`: one call for a whole batch."""

    @property
    def device(self) -> str: ...
    @property
    def is_multilingual(self) -> bool: ...
    def encode(self, features: object, *, to_cpu: bool = False) -> Encoded: ...
    def detect_language(self, encoded: Encoded) -> Sequence[Sequence[tuple[str, float]]]:
        """Return tokens of languages such as <|en|> with their probabilities, the likeliest first."""

    def generate(
        self,
        encoded: Encoded,
        prompts: list[list[int]],
        *,
        max_length: int,
        return_scores: bool,
        return_no_speech_prob: bool,
        suppress_blank: bool,
        suppress_tokens: Sequence[int],
        **search: Unpack[Search],
    ) -> Sequence[Generated]: ...


class TextEncoding(Protocol):
    ids: Sequence[int]


class TextEncoder(Protocol):
    """`tokenizers.Tokenizer`."""

    def encode(self, text: str, *, add_special_tokens: bool) -> TextEncoding: ...


class Tokenizer(Protocol):
    """faster-whisper's tokenizer for one language and task."""

    @property
    def eot(self) -> int:
        """The first special token; smaller ones are text."""

    @property
    def language_code(self) -> str: ...
    def decode(self, tokens: Sequence[int]) -> str: ...


class FeatureExtractor(Protocol):
    hop_length: int
    """Samples a frame."""

    def __call__(self, sound: Samples) -> Samples: ...


class Scored(Protocol):
    """The values that the gates of `whisper_model` check."""

    @property
    def avg_logprob(self) -> float: ...
    @property
    def no_speech_prob(self) -> float: ...
    @property
    def compression_ratio(self) -> float: ...


class FoundWord(Protocol):
    """A word, with numpy's numbers."""

    word: str
    start: float
    end: float
    probability: float


class FoundSegment(Scored, Protocol):
    """A segment, with numpy's numbers."""

    start: float
    end: float
    text: str
    tokens: Sequence[int]
    temperature: float | None
    words: Sequence[FoundWord] | None


class LanguageInfo(Protocol):
    """The language of a transcript."""

    @property
    def language(self) -> str: ...
    @property
    def language_probability(self) -> float: ...


class WordTimes(TypedDict):
    word: str
    start: float
    end: float
    probability: float


class AlignedWord(WordTimes):
    tokens: Sequence[int]


class SplitSegment(TypedDict):
    """A segment while the library still works on it."""

    start: float
    end: float
    tokens: list[int]
    words: NotRequired[list[WordTimes]]


class WhisperModel(Protocol):
    """The model that `whisper_model.load` returns."""

    model: Translator
    feature_extractor: FeatureExtractor
    hf_tokenizer: TextEncoder
    max_length: int
    context_s: float
    expected: str | None
    allowed: tuple[str, ...]
    known_alignment: list[list[AlignedWord]] | None

    @property
    def supported_languages(self) -> Sequence[str]: ...
    def transcribe(
        self,
        audio: Samples,
        *,
        language: str | None,
        task: str,
        beam_size: int,
        temperature: Sequence[float],
        initial_prompt: Sequence[int] | None,
        hotwords: str | None,
        condition_on_previous_text: bool,
        without_timestamps: bool,
        word_timestamps: bool,
        no_speech_threshold: float,
        log_prob_threshold: float,
        compression_ratio_threshold: float,
        vad_filter: bool,
        clip_timestamps: str | list[float],
    ) -> tuple[Iterable[FoundSegment], LanguageInfo]: ...
    def get_prompt(
        self, tokenizer: Tokenizer, previous_tokens: list[int], *, without_timestamps: bool
    ) -> list[int]: ...
    def find_alignment(
        self, tokenizer: Tokenizer, text_tokens: list[list[int]], encoder_output: Encoded, num_frames: list[int]
    ) -> list[list[AlignedWord]]: ...
    def add_word_timestamps(
        self,
        segments: list[list[SplitSegment]],
        tokenizer: Tokenizer,
        encoder_output: Encoded,
        num_frames: int,
        prepend_punctuations: str,
        append_punctuations: str,
        last_speech_timestamp: float,
    ) -> float: ...
    def _split_segments_by_timestamps(
        self,
        *,
        tokenizer: Tokenizer,
        tokens: Sequence[int],
        time_offset: float,
        segment_size: int,
        segment_duration: float,
        seek: int,
    ) -> tuple[list[SplitSegment], int, bool]: ...
