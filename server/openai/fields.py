"""The fields of `/v1/audio/transcriptions` and `/v1/audio/translations`, as clients send them in forms."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from pipeline.listening.windows import Cutting
from pipeline.stt import SpeechToText
from pipeline.stt.files import cutting_for
from server.parameters import MAX_TRACK, TRACK, NullIsAbsent, from_json

MAX_PROMPT_CHARS = 4000
MAX_KNOWN_SPEAKERS = 4


def _as_list(value: Any) -> Any:
    """A field that came once is a list of one, or of all of them as JSON."""
    found: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        inside = from_json(one)
        found += inside if isinstance(inside, list) else [one]
    return found


SpeakerName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class ServerVad(NullIsAbsent):
    """How a recording is cut where nobody speaks."""

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=200, ge=0, le=30_000)
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)


class CommonFields(BaseModel):
    """The fields of both."""

    model: str = Field(default="", max_length=200, examples=["whisper-1"], description="By default what is loaded.")
    prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARS, description="Names and style to expect.")
    temperature: float = Field(default=0.0, ge=0.0, le=1.0)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=f"{TRACK} Not in OpenAI's API.")


class TranslationFields(CommonFields):
    """The fields of a translation."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"


class TranscriptionFields(CommonFields):
    """The fields of a transcription."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    language: str | None = Field(default=None, max_length=20, description="ISO 639-1; by default it is found out.")
    include: Annotated[list[Literal["logprobs"]], BeforeValidator(_as_list)] = Field(default=[], alias="include[]")
    timestamp_granularities: Annotated[list[Literal["word", "segment"]], BeforeValidator(_as_list)] = Field(
        default=["segment"], alias="timestamp_granularities[]"
    )
    stream: bool = False
    chunking_strategy: Annotated[Literal["auto"] | ServerVad | None, BeforeValidator(from_json)] = None
    known_speaker_names: Annotated[list[SpeakerName], BeforeValidator(_as_list)] = Field(
        default=[], max_length=MAX_KNOWN_SPEAKERS, alias="known_speaker_names[]"
    )
    known_speaker_references: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[],
        max_length=MAX_KNOWN_SPEAKERS,
        alias="known_speaker_references[]",
        description="Data URLs of clips of 2 to 10 s, one for each name.",
    )

    model_config = {"populate_by_name": True}

    def cutting(self, stt: SpeechToText) -> Cutting:
        """Where the recording is cut: as the engine wants it, or as the client does."""
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
