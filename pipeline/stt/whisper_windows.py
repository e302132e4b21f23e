"""Batched decoding of windows of recordings. Each window gets the same segments as when it is decoded alone.

The library's own batched pipeline decodes each window once and drops what the model left for a second pass. Here the
first pass is batched, and a window that needs a second one gets it alone from the library, which is rare.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.audio.clip import Samples
from pipeline.stt.whisper_model import MAX_NO_SPEECH, MIN_LOGPROB, Batch, Heard, Utterance, features_of
from pipeline.stt.whisper_types import FoundSegment, SplitSegment, Tokenizer, WhisperModel

FRAMES_PER_S = 100
PREPEND, APPEND = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"
"""Marks that belong to the word after and before them; the library's defaults."""
REST_S = 0.3
"""Sound after the last segment in which no word fits, so that it is not decoded: Whisper invents or repeats text there.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One window and its options."""

    sound: Samples
    """16 kHz, at most 30 s."""
    language: str | None
    prompt: tuple[int, ...]
    """Tokens of the hint before the transcript."""
    words: bool
    task: str
    keyworded: tuple[int, ...] = ()
    """Tokens of another hint, with keywords, for a second transcript; empty: none."""
    batch_size: int | None = None
    """Maximum batch size for this window."""
    expected: str | None = None
    """Language if the detection is not sure of another one; None: the likeliest."""
    allowed: tuple[str, ...] = ()
    """Languages that can be detected; empty: all."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Result of the first pass over a window."""

    segments: Sequence[FoundSegment]
    language: str
    language_probability: float
    rest_s: float | None
    """Time from which the window must be decoded again; None: all of it is done."""
    keyworded: str
    """The second transcript of the window, with keywords."""

    @property
    def repeats(self) -> bool:
        """Whether the text repeats itself, as it can happen with a short context."""
        return repetitive([segment.text for segment in self.segments])


def repetitive(texts: Sequence[str]) -> bool:
    """Whether a segment has the words of the one before it, or all of them together say the same twice."""
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    if any(len(before) > 1 and before == after for before, after in pairwise(words)):
        return True
    whole = [word for segment in words for word in segment]
    half = len(whole) // 2
    return half > 1 and whole[:half] == whole[half:]


def first_pass(
    model: WhisperModel, windows: Sequence[Asked], *, beam: int, cancelled: Callable[[int], bool]
) -> Iterator[tuple[int, Pass | None]]:
    """Yield (index, Pass) for each window that was not cancelled, and (index, None) in between, where all can be
    cancelled."""
    utterances = [
        Utterance(
            features_of(model, one.sound),
            one.language,
            one.prompt,
            one.keyworded,
            one.task,
            True,
            one.expected,
            one.allowed,
        )
        for one in windows
    ]
    groups: dict[object, list[int]] = {}
    for index, utterance in enumerate(utterances):
        groups.setdefault((utterance.kind, utterance.language, windows[index].words), []).append(index)
    for wanted in _batches(list(groups.values()), windows):
        wanted = [index for index in wanted if not cancelled(index)]
        if not wanted:
            continue
        batch = Batch(model, [utterances[index] for index in wanted], beam)
        yield wanted[0], None
        batch.prepare()
        heard: dict[int, Heard] = {}
        for place, one in batch.tries():
            if one is None:
                yield wanted[place], None
            else:
                heard[place] = one
        if any(windows[index].keyworded for index in wanted):
            yield wanted[0], None
            heard |= batch.with_keywords(heard)
        lengths = [_frames(model, windows[index].sound) for index in wanted]
        passes = [_split(model, batch.tokenizers[place], heard[place], lengths[place]) for place in range(len(wanted))]
        if windows[wanted[0]].words:
            _add_words(model, batch, passes, lengths)
        for place, index in enumerate(wanted):
            yield index, _result(batch.tokenizers[place], heard[place], passes[place], lengths[place])


def _batches(groups: Sequence[Sequence[int]], windows: Sequence[Asked]) -> Iterator[Sequence[int]]:
    for group in groups:
        most = min(windows[index].batch_size or len(group) for index in group)
        yield from (group[at : at + most] for at in range(0, len(group), most))


@dataclass(slots=True)
class _Split:
    """The segments that the library makes of one window."""

    segments: list[SplitSegment]
    seek: int
    """Frame up to which the window is decoded."""
    ended: bool
    """Whether the window has no speech after the last segment."""


def _frames(model: WhisperModel, sound: Samples) -> int:
    """Number of frames of 10 ms, as the library counts them."""
    return min(3000, len(sound) // model.feature_extractor.hop_length)


def _split(model: WhisperModel, tokenizer: Tokenizer, heard: Heard, frames: int) -> _Split:
    if heard.no_speech_prob > MAX_NO_SPEECH and heard.avg_logprob <= MIN_LOGPROB:
        return _Split([], frames, True)
    segments, seek, ended = model._split_segments_by_timestamps(
        tokenizer=tokenizer,
        tokens=heard.tokens,
        time_offset=0.0,
        segment_size=frames,
        segment_duration=frames / FRAMES_PER_S,
        seek=0,
    )
    return _Split(segments, seek, ended)


def _add_words(model: WhisperModel, batch: Batch, passes: Sequence[_Split], lengths: Sequence[int]) -> None:
    """Align all words of one language together, then handle each window alone: the library would let one window's end
    move another's."""
    from faster_whisper.transcribe import get_end

    texts = [
        [token for segment in one.segments for token in segment["tokens"] if token < batch.tokenizers[place].eot]
        for place, one in enumerate(passes)
    ]
    if len({tokenizer.language_code for tokenizer in batch.tokenizers}) == 1:
        aligned = model.find_alignment(batch.tokenizers[0], texts, batch.encoded, list(lengths))
    else:
        aligned = [
            model.find_alignment(tokenizer, [texts[place]], batch.alone(place), [lengths[place]])[0]
            for place, tokenizer in enumerate(batch.tokenizers)
        ]
    for place, one in enumerate(passes):
        if one.segments:
            model.known_alignment = [aligned[place]]
            model.add_word_timestamps(
                [one.segments], batch.tokenizers[place], batch.encoded, lengths[place], PREPEND, APPEND, 0.0
            )
            end_s = get_end(one.segments)
            if end_s and not one.ended:
                one.seek = round(end_s * FRAMES_PER_S)


def _result(tokenizer: Tokenizer, heard: Heard, split: _Split, frames: int) -> Pass:
    from faster_whisper.transcribe import Segment, Word

    segments: list[Segment] = []
    for one in split.segments:
        text = tokenizer.decode(one["tokens"])
        if one["start"] == one["end"] or not text.strip():
            continue
        segments.append(
            Segment(
                id=len(segments) + 1,
                seek=0,
                start=one["start"],
                end=one["end"],
                text=text,
                tokens=one["tokens"],
                temperature=heard.temperature,
                avg_logprob=heard.avg_logprob,
                compression_ratio=heard.compression_ratio,
                no_speech_prob=heard.no_speech_prob,
                words=[Word(**word) for word in one["words"]] if "words" in one else None,
            )
        )
    rest_s = split.seek / FRAMES_PER_S if split.seek < frames - REST_S * FRAMES_PER_S else None
    return Pass(segments, heard.language, heard.language_probability, rest_s, heard.keyworded)
