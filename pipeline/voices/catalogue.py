"""Voices by name, and the parameters that each engine needs to speak with them.

`voices/NAME/voice.toml` describes a voice, with its reference clips beside it; a bare NAME.wav in voices/ or audios/ is
a voice as well. Names are looked up in the list of existing voices, never turned into paths.
"""

import logging
import math
import os
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.audio.decode import check_sound
from pipeline.errors import BadInput, ParleyError
from pipeline.folders import AUDIOS, VOICES

if TYPE_CHECKING:
    from pipeline.settings import Settings

log = logging.getLogger(__name__)

CLIP_ENDINGS = frozenset({".wav", ".flac", ".mp3", ".ogg"})
"""File endings of reference recordings."""
MAX_CLIP_BYTES = 50 * 2**20
"""A larger file is not a reference recording: half a minute is enough for any engine."""
MAX_TOML_BYTES = 64 * 2**10
"""A larger voice.toml is a mistake."""
DEFAULT_LANGUAGE = "en"
"""Language of a voice that lists none, when the request names none either."""
RESCAN_S = 1.0
"""Seconds for which `get` trusts the last listing of the folders."""

Stamp = tuple[object, ...]
"""Changes when the files of a voice change: names, times and sizes."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice."""

    name: str
    description: str = ""
    clips: tuple[Path, ...] = ()
    """Reference recordings for engines that clone voices."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes that the voice is meant for; empty: whatever the engine speaks."""
    engines: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Parameters for each engine: {"espeak": {"en": "en-us+m3", …}, "xtts": {"speaker": "…"}, …}."""
    licence: str = ""
    """Owner and permitted use of the voice, for people."""
    instructions: str = ""
    """How to speak (mood, pace), for engines that follow instructions."""
    created_at: int = 0
    """Unix time at which it was added through the service; 0 for other voices."""
    consent: str = ""
    """Id of the speaker's consent (`pipeline.voices.consents`)."""

    def language(self, wanted: str | None) -> str:
        """Return the language to speak: `wanted` (in lower case, "-" before a region), else the voice's first."""
        if wanted:
            return wanted.strip().lower().replace("_", "-")
        return self.languages[0] if self.languages else DEFAULT_LANGUAGE

    def usual_language(self, preferred: str) -> str:
        """Return the language of a text that does not specify one: `preferred` ("": none), unless the voice lists its
        languages without it; then its first."""
        code = self.language(preferred)
        plain = code.partition("-")[0]
        return code if not self.languages or {code, plain} & {*self.languages} else self.languages[0]


class Voices:
    """The voices that exist now: a new file in a folder is found at once, a changed or deleted one within RESCAN_S.

    Files are opened only when they have changed. Unreadable files are skipped, with one warning for each change.
    """

    def __init__(self, voices_dir: Path, audios_dir: Path, *included: Path) -> None:
        """voices_dir, included: folders of described voices and bare recordings, in this order of precedence.
        audios_dir: a folder of bare recordings."""
        self._folders = dict.fromkeys((voices_dir, *included))
        self._audios_dir = audios_dir
        self._built_in: Sequence[Voice] = ()
        self._known: dict[Path, tuple[Stamp, Voice | None]] = {}
        self._found: dict[str, Voice] = {}
        """Result of the last scan."""
        self._scanned = -math.inf
        """`time.monotonic()` of the last scan."""

    @classmethod
    def load(cls, settings: "Settings") -> Self:
        """Load the voices of VOICES_DIR, and Parley's own. A missing folder counts as empty."""
        return cls(settings.voices_dir.resolve(), AUDIOS, VOICES)

    def add_built_in(self, voices: Sequence[Voice]) -> None:
        """Add the voices of a speech model. A voice in a folder with the same name takes precedence."""
        self._built_in = voices
        self._scanned = -math.inf

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._scan())

    def get(self, name: str) -> Voice:
        """Return the voice of that name. Raises BadInput (unknown_voice) with the names that exist."""
        # Each new connection asks for a voice: many in a second must not list the folders each time.
        if time.monotonic() - self._scanned < RESCAN_S and name in self._found:
            return self._found[name]
        voices = self._scan()
        if name in voices:
            return voices[name]
        there = ", ".join(sorted(voices)[:20]) or "none"
        # repr, because the name comes from the client and can contain anything.
        raise BadInput(f"There is no voice {name[:60]!r}; there are: {there}.", code="unknown_voice")

    def __iter__(self) -> Iterator[Voice]:
        """Iterate over all voices, by name."""
        voices = self._scan()
        return iter([voices[name] for name in sorted(voices)])

    def __len__(self) -> int:
        return len(self._scan())

    def _scan(self) -> dict[str, Voice]:
        found: dict[str, Voice] = {}
        known: dict[Path, tuple[Stamp, Voice | None]] = {}
        # The first voice of a name wins: a described voice before a bare recording, voices/ before audios/.
        places: list[Path] = []
        for folder in self._folders:
            inside = _inside(folder)
            places += [path for path in inside if path.is_dir()] + [path for path in inside if _is_clip(path)]
        places += [path for path in _inside(self._audios_dir) if _is_clip(path)]
        for path in places:
            try:
                files = [file for file in _inside(path) if file.is_file()] if path.is_dir() else [path]
                stamp = tuple((file.name, *_stamp(file)) for file in files)
                before = self._known.get(path)
                if before is None or before[0] != stamp:
                    before = (stamp, _read_folder(path, files) if path.is_dir() else _read_bare(path))
            except OSError:  # deleted after the listing
                continue
            known[path] = before
            if before[1] is not None:
                found.setdefault(before[1].name, before[1])
        self._known = known
        for voice in self._built_in:
            found.setdefault(voice.name, voice)
        self._found, self._scanned = found, time.monotonic()
        return found


def _inside(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, by name, without hidden ones and links that lead out of it."""
    try:
        with os.scandir(folder) as entries:
            there = sorted((entry.name, entry.is_symlink()) for entry in entries)
    except OSError:
        return []
    return [
        folder / name
        for name, link in there
        if name.isprintable() and not name.startswith(".") and not (link and _leads_out(folder / name, folder))
    ]


def _leads_out(link: Path, folder: Path) -> bool:
    try:
        return not link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # RuntimeError: a circular link
        return True


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in CLIP_ENDINGS and path.is_file()


def _stamp(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _readable(clip: Path) -> bool:
    """Whether the file is a recording with sound; logs a warning if not."""
    try:
        if clip.stat().st_size > MAX_CLIP_BYTES:
            raise ValueError("it is too large")
        check_sound(clip)
    except (OSError, ValueError, ParleyError) as error:
        log.warning("voice recording %s is skipped: %s", clip.name, error)
        return False
    return True


def _read_bare(path: Path) -> Voice | None:
    return Voice(path.stem, "A recording.", clips=(path,)) if _readable(path) else None


def _read_folder(folder: Path, files: list[Path]) -> Voice | None:
    """Read the voice in a folder: described by its voice.toml, or made of its recordings alone."""
    clips = {file.name: file for file in files if _is_clip(file)}
    description = folder / "voice.toml"
    try:
        if description not in files:
            voice = Voice(folder.name, "Recordings.", clips=tuple(filter(_readable, clips.values())))
            return voice if voice.clips else None
        if description.stat().st_size > MAX_TOML_BYTES:
            raise ValueError("it is too large")
        return _parse(folder.name, tomllib.loads(description.read_text("utf-8")), clips)
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        log.warning("voice %s is skipped: voice.toml: %s", folder.name, error)
        return None


def _parse(name: str, table: dict[str, Any], clips: Mapping[str, Path]) -> Voice:
    """Parse a voice's TOML: description, licence, languages, clips (default: all in the folder), a table per engine."""
    wanted = _strings(table, "clips", tuple(clips))
    missing = [clip for clip in wanted if clip not in clips]
    if missing:
        raise ValueError(f"the recording {missing[0]!r} is not in the voice's folder")
    for key in ("description", "licence", "consent"):
        if not isinstance(table.get(key, ""), str):
            raise ValueError(f"{key} must be a string")
    if not isinstance(table.get("created_at", 0), int):
        raise ValueError("created_at must be a number")
    return Voice(
        name,
        description=table.get("description", ""),
        clips=tuple(filter(_readable, (clips[clip] for clip in wanted))),
        languages=_strings(table, "languages", ()),
        engines={key: value for key, value in table.items() if isinstance(value, dict)},
        licence=table.get("licence", ""),
        created_at=table.get("created_at", 0),
        consent=table.get("consent", ""),
    )


def _strings(table: dict[str, object], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = table.get(key, default)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} must be a list of strings")
    return tuple(value)
