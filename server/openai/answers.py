"""What the doors for recordings answer, as the OpenAPI document has it; OpenAI's own client checks the answers
themselves in the tests."""

from typing import Literal

from pydantic import Field

from server.documents import Answer, like

USAGE = {"type": "duration", "seconds": 2}


class Usage(Answer):
    """Seconds of sound, rounded up."""

    type: Literal["duration"]
    seconds: float


class Word(Answer):
    word: str
    start: float
    end: float


class SegmentWord(Word):
    probability: float


class Segment(Answer):
    """Of `verbose_json`, with Whisper's ten keys."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    speaker: str | None = None


class WhisperSegment(Segment):
    """With its words, where they are asked for."""

    words: list[SegmentWord] = Field(default_factory=list)


class LogProb(Answer):
    """Of a word."""

    token: str
    bytes: list[int]
    logprob: float


class TextAnswer(Answer):
    """`json`."""

    model_config = like({"text": "Good morning.", "usage": USAGE})

    text: str
    usage: Usage | None = None
    logprobs: list[LogProb] | None = None


class VerboseAnswer(Answer):
    """`verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str
    """Its English name."""
    duration: float
    text: str
    usage: Usage
    segments: list[Segment] | None = None
    words: list[Word] | None = None


class SpeakerSegment(Answer):
    """Who says what."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    text: str
    speaker: str


class DiarizedAnswer(Answer):
    """`diarized_json`."""

    task: Literal["transcribe"]
    duration: float
    text: str
    segments: list[SpeakerSegment]
    usage: Usage
