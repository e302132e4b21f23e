"""What can be made better of a transcript once it is there: the times of words, and who said what."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.assistant import Assistant
from pipeline.errors import EngineUnavailable
from pipeline.media import Recording
from pipeline.transcription import Transcription


@dataclass(frozen=True, slots=True)
class Refining:
    """What is wanted beyond text."""

    align: bool = False
    """Times of words by forced alignment, where a model for the language can be had; else they stay as they are."""
    diarize: bool = False
    """Who said what."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    hf_token: str | None = None
    """For gated models of the hub; instead of HF_TOKEN."""


async def refine(
    assistant: Assistant, found: Transcription, recording: Callable[[], Recording], refining: Refining
) -> Transcription:
    """The transcript with what is wanted. recording: opens it once more, from its begin.

    Raises EngineUnavailable when speakers are wanted and nothing here can tell them apart.
    """
    if refining.diarize:
        raise EngineUnavailable("Speakers cannot be told apart here.", remedy="Install the extra `speakers`.")
    return found
