"""Response schemas of the transcription endpoints, for the OpenAPI document. The tests check the responses themselves
with OpenAI's client."""

from typing import Literal

from pydantic import Field

from server.openapi import ResponseModel, like

USAGE = {"type": "duration", "seconds": 2}


class Usage(ResponseModel):
    """Length of the recording, rounded up to seconds."""

    type: Literal["duration"]
    seconds: float


class Word(ResponseModel):
    word: str
    start: float
    end: float


class SegmentWord(Word):
    probability: float


class Segment(ResponseModel):
    """A segment of `verbose_json`, with Whisper's ten keys."""

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
    """A segment with its words, if they were requested."""

    words: list[SegmentWord] = Field(default_factory=list)


class LogProb(ResponseModel):
    """Log probability of a word."""

    token: str
    bytes: list[int]
    logprob: float


class Language(ResponseModel):
    """A language of the speech."""

    code: str


class TextResponse(ResponseModel):
    """The response for `json`."""

    model_config = like({"text": "Good morning.", "languages": [{"code": "en"}], "usage": USAGE})

    text: str
    languages: list[Language] | None = None
    """Languages of the speech, in the order in which they are spoken; empty without recognised speech. Not in a
    translation."""
    usage: Usage | None = None
    logprobs: list[LogProb] | None = None


class VerboseResponse(ResponseModel):
    """The response for `verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str
    """English name of the language."""
    duration: float
    text: str
    usage: Usage
    segments: list[Segment] | None = None
    words: list[Word] | None = None


class SpeakerSegment(ResponseModel):
    """A segment with its speaker."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    text: str
    speaker: str


class DiarizedResponse(ResponseModel):
    """The response for `diarized_json`."""

    task: Literal["transcribe"]
    duration: float
    text: str
    segments: list[SpeakerSegment]
    usage: Usage
