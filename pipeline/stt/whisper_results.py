"""Whisper's results as ours: doubtful text is left out, and numpy's numbers become plain ones."""

from collections.abc import Iterable, Iterator

from pipeline.stt import Segment, Transcript, Word
from pipeline.stt.whisper_model import MAX_COMPRESSION, MAX_NO_SPEECH, MIN_LOGPROB, Heard
from pipeline.stt.whisper_types import FoundSegment, FoundWord, LanguageInfo, Scored
from pipeline.stt.whisper_windows import REST_S
from pipeline.stt.word_times import Timed, filled

NO_SPEECH_FOR_CERTAIN = 0.7
"""Above this probability of no speech, text is dropped even if its tokens are likely. tiny.en and base invented "you"
or "I'm sorry." in silence, music and breath at 0.74 to 0.98; in recordings of speech it was at most 0.25."""
HOPELESS_LOGPROB = -2.0
"""Below this mean log-probability no word is likely to be right, whatever the probability of speech."""


def transcript_of(heard: Heard, *, language: str | None, duration_s: float) -> Transcript:
    """Convert the result of an utterance. language: the requested one, for sound without believable words."""
    believable = bool(heard.text) and is_believable(heard)
    return Transcript(
        text=heard.text if believable else "",
        language=heard.language if believable else language,
        duration_s=duration_s,
        language_probability=heard.language_probability,
    )


def is_believable(segment: Scored) -> bool:
    """Whether a segment passes the gates. The library applies them, too, but keeps the text when all tries fail."""
    if segment.compression_ratio > MAX_COMPRESSION or segment.avg_logprob < HOPELESS_LOGPROB:
        return False
    if segment.no_speech_prob > NO_SPEECH_FOR_CERTAIN:
        return False
    return not (segment.no_speech_prob > MAX_NO_SPEECH and segment.avg_logprob < MIN_LOGPROB)


def word_of(word: FoundWord, offset_s: float) -> Word:
    """Convert to plain floats: the library's are numpy's, which JSON cannot encode."""
    return Word(word.word.strip(), float(word.start) + offset_s, float(word.end) + offset_s, float(word.probability))


def segments_of(found: Iterable[FoundSegment], info: LanguageInfo, seconds: float) -> Iterator[Segment | None]:
    """Yield the believable segments, and None for each other one, up to the last that fits into this many seconds of
    sound."""
    for segment in found:
        yield _segment(segment, info) if is_believable(segment) and segment.text.strip() else None
        if segment.end > seconds - REST_S:
            return


def _segment(segment: FoundSegment, info: LanguageInfo) -> Segment:
    words = [word_of(word, 0.0) for word in segment.words or ()]
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
