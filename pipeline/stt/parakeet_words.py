"""Words and segments from the tokens of a NeMo model."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.stt import Segment, Word
from pipeline.stt.word_times import Timed, filled

LONGEST_TOKEN_S = 0.32
"""Time after which a token has ended: the longest duration that Parakeet TDT knows, four frames of 80 ms."""
PAUSE_S = 1.0
"""A pause of this length ends a segment."""
SENTENCE_END = re.compile(r"[.?!…]['\")\]]*$")
MARKER = re.compile(r"<[^<>\s]+>")
"""Tokens without sound: unknown, language, emotion."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a transcript. A space at its start begins a word."""

    text: str
    at_s: float | None
    """Its start; None: unknown."""
    logprob: float


def tokens_of(result: object) -> list[Token]:
    """Convert a TimestampedResult of onnx-asr. Models without times or probabilities of tokens leave them out."""
    texts: Sequence[str] = getattr(result, "tokens", None) or ()
    times: Sequence[float | None] = getattr(result, "timestamps", None) or [None] * len(texts)
    scores: Sequence[float] = getattr(result, "logprobs", None) or ()
    if len(scores) != len(texts):  # Canary's also count markers: the mean is right for all
        scores = [sum(scores) / max(1, len(scores))] * len(texts)
    return [
        Token(text, at, min(0.0, float(score)))
        for text, at, score in zip(texts, times, scores, strict=True)
        if not MARKER.fullmatch(text.strip())
    ]


def words_of(tokens: Sequence[Token], start_s: float, end_s: float) -> list[Word]:
    """Join tokens to words with times inside [start_s, end_s]; the times of tokens count from start_s."""
    groups: list[list[int]] = []
    for index, token in enumerate(tokens):
        alone = not any(char.isalnum() for char in token.text)  # punctuation belongs to the word before it
        if not groups or (token.text.startswith(" ") and not alone):
            groups.append([])
        groups[-1].append(index)
    timed: list[Timed] = []
    for group in groups:
        text = re.sub(r"\s+", "", "".join(tokens[index].text for index in group))
        if not text:
            continue
        probability = math.exp(sum(tokens[index].logprob for index in group) / len(group))
        first, last = tokens[group[0]].at_s, _end(tokens, group[-1])
        span = None if first is None or last is None else (start_s + first, start_s + last)
        timed.append(Timed(text, span, probability))
    return filled(timed, start_s, end_s)


def _end(tokens: Sequence[Token], index: int) -> float | None:
    """The end of a token: the next one's start, soon after its own."""
    at_s = tokens[index].at_s
    if at_s is None:
        return None
    after = tokens[index + 1].at_s if index + 1 < len(tokens) else None
    return at_s + LONGEST_TOKEN_S if after is None else min(after, at_s + LONGEST_TOKEN_S)


def text_of(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def segments_of(words: Sequence[Word], language: str | None, with_words: bool) -> Iterator[Segment]:
    """Yield about one segment for each sentence."""
    first = 0
    for index, word in enumerate(words):
        after = words[index + 1] if index + 1 < len(words) else None
        if after is None or SENTENCE_END.search(word.text) or after.start_s - word.end_s >= PAUSE_S:
            own = words[first : index + 1]
            first = index + 1
            yield Segment(
                start_s=own[0].start_s,
                end_s=own[-1].end_s,
                text=text_of(own),
                language=language,
                words=own if with_words else (),
                avg_logprob=sum(math.log(max(one.probability, 1e-9)) for one in own) / len(own),
            )
