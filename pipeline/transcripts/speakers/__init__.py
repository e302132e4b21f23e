"""Diarization, which finds who speaks when: the Protocol and the table of its engines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """A stretch in which one person speaks; where several speak at once, the most audible one."""

    start_s: float
    end_s: float
    speaker: str
    """A known name, else "A", "B", … in the order of first appearance."""


@dataclass(frozen=True, slots=True)
class KnownSpeaker:
    """A person that the diarizer can recognise by voice."""

    name: str
    clip: Clip
    """A few seconds of speech, any rate."""


@dataclass(frozen=True, slots=True)
class HowMany:
    """Bounds on the number of speakers, as far as they are known; equal when the number is known."""

    least: int | None = None
    most: int | None = None


class Diarizer(Protocol):
    """Finds who speaks when in a recording."""

    recognises: bool
    """Whether `turns` names known speakers; else `assigning.with_names` adds the names."""

    async def turns(
        self, recording: Callable[[], Recording], how_many: HowMany, known: Sequence[KnownSpeaker] = ()
    ) -> list[SpeakerTurn]:
        """Return the turns of a recording, in order, without overlaps.

        recording: opens the recording from its start. Raises BadInput if it is not a recording, EngineError,
        Overloaded.
        """
        ...


ENGINES: dict[str, str] = {
    "pyannote": "pipeline.transcripts.speakers.pyannote",
    "resemblyzer": "pipeline.transcripts.speakers.resemblyzer",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("pyannote", "resemblyzer")
"""Engines that `auto` tries, best first."""


def letter(number: int) -> str:
    """Return a speaker's letter: 0 → A, 25 → Z, 26 → AA."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
