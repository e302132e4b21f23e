"""Who speaks when: the Protocol and the table of its engines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.audio import Clip
from pipeline.media import Recording


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """A stretch in which one person speaks. Where several do at once, it is the one who is heard best."""

    start_s: float
    end_s: float
    speaker: str
    """A known name, else "A", "B", … in the order in which they are first heard."""


@dataclass(frozen=True, slots=True)
class KnownSpeaker:
    """Somebody who is recognised."""

    name: str
    clip: Clip
    """Some seconds of speech, any rate."""


@dataclass(frozen=True, slots=True)
class HowMany:
    """Speakers, as far as it is known; both the same when it is known exactly."""

    least: int | None = None
    most: int | None = None


class Diarizer(Protocol):
    """Tells speakers apart."""

    recognises: bool
    """Whether known speakers have their names in its turns; else `assigning.with_names` gives them."""

    async def turns(
        self, recording: Callable[[], Recording], how_many: HowMany, known: Sequence[KnownSpeaker] = ()
    ) -> list[SpeakerTurn]:
        """The turns of a recording, in order, without overlaps.

        recording: opens it, from its begin. Raises BadInput for what is no recording, EngineError, Overloaded.
        """
        ...


ENGINES: dict[str, str] = {
    "pyannote": "pipeline.speakers.pyannote",
    "resemblyzer": "pipeline.speakers.resemblyzer",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("pyannote", "resemblyzer")
"""What `auto` tries, best first."""


def letter(number: int) -> str:
    """0 → A, 25 → Z, 26 → AA."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
