"""Form fields of `/v1/audio/transcriptions` and `/v1/audio/translations`."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, FailFast, Field, StringConstraints

from pipeline.stt import SpeechToText
from pipeline.transcripts.long_files import cutting_for
from pipeline.transcripts.windows import Cutting
from server.http.multipart import MAX_FIELDS_BYTES
from server.parameters import MAX_TRACK, TRACK, Keywords, Languages, NullIsAbsent, as_list, from_json, list_of

MAX_PROMPT_CHARS = 4000
MAX_KNOWN_SPEAKERS = 4
MAX_CHOICES = 16
"""Limit of lists with a few possible values, which some clients repeat."""


SpeakerName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class ServerVad(NullIsAbsent):
    """Options for cutting a recording at silences."""

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=200, ge=0, le=30_000)
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)


class CommonFields(BaseModel):
    """Fields of both endpoints."""

    model: str = Field(default="", max_length=200, examples=["whisper-1"], description="By default the loaded model.")
    prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARS, description="Names and style to expect.")
    temperature: float = Field(default=0.0, ge=0.0, le=1.0)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=f"{TRACK} Not in OpenAI's API.")


class TranslationFields(CommonFields):
    """Fields of a translation."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"


class TranscriptionFields(CommonFields):
    """Fields of a transcription."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    language: str | None = Field(default=None, max_length=20, description="ISO 639-1; by default it is detected.")
    languages: Languages = Field(default=[], alias="languages[]")
    keywords: Keywords = Field(default=[], alias="keywords[]")
    include: Annotated[list[Literal["logprobs"]], FailFast(), BeforeValidator(as_list)] = Field(
        default=[], max_length=MAX_CHOICES, alias="include[]"
    )
    timestamp_granularities: Annotated[list[Literal["word", "segment"]], FailFast(), BeforeValidator(as_list)] = Field(
        default=["segment"], max_length=MAX_CHOICES, alias="timestamp_granularities[]"
    )
    stream: bool = False
    chunking_strategy: Annotated[Literal["auto"] | ServerVad | None, BeforeValidator(from_json)] = None
    known_speaker_names: Annotated[list[SpeakerName], BeforeValidator(as_list)] = Field(
        default=[], max_length=MAX_KNOWN_SPEAKERS, alias="known_speaker_names[]"
    )
    known_speaker_references: Annotated[list[str], BeforeValidator(list_of(MAX_FIELDS_BYTES))] = Field(
        default=[],
        max_length=MAX_KNOWN_SPEAKERS,
        alias="known_speaker_references[]",
        description="Data URLs of clips of 2 to 10 s, one for each name.",
    )

    model_config = {"populate_by_name": True}

    def cutting(self, stt: SpeechToText) -> Cutting:
        """Return how to cut the recording: as the client requests, or else as the engine prefers."""
        plain = cutting_for(stt)
        if not isinstance(self.chunking_strategy, ServerVad):
            return plain
        vad = self.chunking_strategy
        return Cutting(
            plain.max_s,
            max(0.1, vad.silence_duration_ms / 1000),
            min(vad.prefix_padding_ms / 1000, plain.max_s / 10),
            min(0.95, max(0.05, vad.threshold)),
            pack=plain.pack,
        )
