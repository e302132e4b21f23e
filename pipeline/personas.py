"""Personas: ready-made assistants, one TOML file each, and the options of a conversation that follow from a choice.

personas/NAME.toml, beside VOICES_DIR: `name`, `description`, `system_prompt`, `voice`, `language`, `llm_model`,
`temperature`; all are optional. The files are read once, at the start, and the first mistake ends it with one sentence.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from pipeline.errors import BadInput, ConfigError
from pipeline.languages import language_code
from pipeline.llm import AS_SET, Generation
from pipeline.llm.offered import MAX_NAME_CHARS
from pipeline.voices.catalogue import Voice, Voices

MAX_TOML_BYTES = 64 * 2**10
"""A larger file is not a persona."""
MAX_PERSONAS = 200
MAX_PROMPT_CHARS = 8_000
"""Longest system prompt of a persona or a client."""
MAX_DESCRIPTION_CHARS = 400
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
"""Names of the files of personas, without their ending."""
LIMITS = {
    "name": 60, "description": MAX_DESCRIPTION_CHARS, "system_prompt": MAX_PROMPT_CHARS, "voice": 60, "language": 20,
    "llm_model": MAX_NAME_CHARS,
}  # fmt: skip
"""Maximum number of characters of each text of a file."""
TEMPERATURES = (0.0, 2.0)


@dataclass(frozen=True, slots=True)
class Persona:
    """One persona. Empty: as the deployment's settings say."""

    id: str
    name: str
    description: str = ""
    system_prompt: str = ""
    voice: str = ""
    language: str = ""
    """ISO 639-1 code of the language that is spoken to it; empty: detected."""
    llm_model: str = ""
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class ConversationOptions:
    """The options of one conversation."""

    system_prompt: str
    voice: Voice
    language: str | None = None
    """ISO 639-1 code of the spoken language; None: SPEECH_LANGUAGE, or detected."""
    persona: str = ""
    """Id of the persona that it began with; empty: none."""
    generation: Generation = AS_SET


class Personas:
    """The personas of the deployment, by id."""

    def __init__(self, personas: Mapping[str, Persona]) -> None:
        self._personas = personas

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the files of a folder; a missing folder is empty. Blocks. Raises ConfigError."""
        files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
        if len(files) > MAX_PERSONAS:
            raise ConfigError(f"There are more than {MAX_PERSONAS} personas; remove some.")
        return cls({file.stem: _read(file) for file in files})

    def check(self, voices: Voices) -> None:
        """Raise ConfigError if a persona has a voice that does not exist."""
        for one in self:
            if one.voice:
                try:
                    voices.get(one.voice)
                except BadInput as error:
                    raise _wrong(one.id, f"voice: {error.message}") from None

    def get(self, id: str) -> Persona:
        """Return a persona. Raises BadInput (unknown_persona)."""
        if (found := self._personas.get(id)) is None:
            there = ", ".join(list(self._personas)[:20]) or "none"
            raise BadInput(f"There is no persona {id[:60]!r}; there are: {there}.", code="unknown_persona")
        return found

    def __iter__(self) -> Iterator[Persona]:
        return iter(self._personas.values())

    def __len__(self) -> int:
        return len(self._personas)


def prompt_of(value: object) -> str:
    """Return a client's system prompt. Raises BadInput (bad_parameter)."""
    if not isinstance(value, str):
        raise BadInput("system must be a text.", code="bad_parameter")
    if len(value) > MAX_PROMPT_CHARS:
        raise BadInput(f"system is longer than {MAX_PROMPT_CHARS} characters.", code="bad_parameter")
    return value


def temperature_of(value: object) -> float | None:
    """Return a client's temperature; None for null or "": the deployment's. Raises BadInput (bad_parameter)."""
    if value is None or value == "":
        return None
    low, high = TEMPERATURES
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if not low <= number <= high:
        raise BadInput(f"temperature must be from {low:g} to {high:g}.", code="bad_parameter")
    return number


def _read(file: Path) -> Persona:
    """Raises ConfigError."""
    if not NAME.fullmatch(file.stem):
        raise _wrong(file.stem[:60], "the name of the file must be letters, digits, dots, hyphens and underscores")
    try:
        if file.stat().st_size > MAX_TOML_BYTES:
            raise _wrong(file.stem, f"the file is larger than {MAX_TOML_BYTES >> 10} KB")
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise _wrong(file.stem, f"the file cannot be read ({error.strerror})") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise _wrong(file.stem, f"it is not TOML: {error}") from None
    known = [field.name for field in fields(Persona) if field.name != "id"]
    for name, value in table.items():
        if name not in known:
            raise _wrong(file.stem, f"{name[:40]!r} is not a field; the fields are {', '.join(known)}")
        if name == "temperature":
            continue
        if not isinstance(value, str):
            raise _wrong(file.stem, f"{name} must be a text in quotes")
        if len(value) > LIMITS[name]:
            raise _wrong(file.stem, f"{name} is longer than {LIMITS[name]} characters")
    try:
        temperature = temperature_of(table.get("temperature"))
        language = language_code(table.get("language")) or ""
    except BadInput as error:
        raise _wrong(file.stem, error.message) from None
    return Persona(
        file.stem,
        table.get("name", "").strip() or file.stem,
        table.get("description", "").strip(),
        table.get("system_prompt", "").strip(),
        table.get("voice", ""),
        language,
        table.get("llm_model", ""),
        temperature,
    )


def _wrong(name: str, why: str) -> ConfigError:
    return ConfigError(f"The persona {name}.toml cannot be used: {why.rstrip('.')}.")
