"""The deployment's pronunciations: a TOML file (LEXICON) of words, each with a spelling or IPA, by language.

    [en]
    nginx = "engine x"
    "Siobhán" = "/ʃɪvˈɔːn/"

    [all]
    Parley = "Parlay"

A word in lower case matches in any case, one with capitals only as it is written; several words in a row are a word,
too. Engines that read text keep the written word where the entry is IPA.
"""

import re
import tomllib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path

from pipeline.audio.clip import Clip
from pipeline.errors import BadInput, ConfigError
from pipeline.languages import language_code
from pipeline.speech.normalise import for_voice
from pipeline.tts import TextToSpeech
from pipeline.tts.phonemes import as_ipa
from pipeline.voices.catalogue import Voice

ALL = "all"
"""Section of words in any language; a language's own section goes first."""
MAX_BYTES = 2**20
MAX_WORDS = 6
"""Longest entry, in words."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class Lexicon:
    """The entries of the file."""

    def __init__(self, sections: Mapping[str, Mapping[str, str]]) -> None:
        """sections: ISO 639-1 or ALL → word → a spelling, or IPA between slashes."""
        self._sections = sections
        self._entries = lru_cache(maxsize=256)(self._compiled)

    def apply(self, text: str, language: str, *, ipa: bool) -> str:
        """Return a normalised text with its words respelled. ipa: whether the engine reads marked IPA
        (`pipeline.tts.phonemes`)."""
        entries = self._entries(language.partition("-")[0])
        if not entries:
            return text
        found = list(_WORD.finditer(text))
        parts: list[str] = []
        end = index = 0
        while index < len(found):
            count, said = _longest(text, found[index : index + MAX_WORDS], entries)
            if said is not None and (ipa or not _is_ipa(said)):
                parts += [text[end : found[index].start()], as_ipa(said.strip("/")) if _is_ipa(said) else said]
                end = found[index + count - 1].end()
            index += count
        return "".join([*parts, text[end:]])

    def _compiled(self, language: str) -> dict[str, str]:
        """Return the entries of a language by their words as `for_voice` writes them."""
        entries: dict[str, str] = {}
        for section in (ALL, language):
            for word, said in self._sections.get(section, {}).items():
                words = _WORD.findall(for_voice(word, language) or word)
                entries[" ".join(words)] = said
        return entries


def _longest(text: str, words: list[re.Match[str]], entries: Mapping[str, str]) -> tuple[int, str | None]:
    """Return the number of words of the longest entry at the beginning, and what it says; (1, None) without one."""
    for count in range(len(words), 0, -1):
        written = " ".join(word.group() for word in words[:count])
        between = text[words[0].start() : words[count - 1].end()]
        if len(between) != len(written):  # a stop or a comma separates them
            continue
        for key in (written, written.lower()):
            if key in entries:
                return count, entries[key]
    return 1, None


def _is_ipa(said: str) -> bool:
    return len(said) > 2 and said.startswith("/") and said.endswith("/")


def read_lexicon(path: Path) -> Lexicon:
    """Read the file. Blocking. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
        return Lexicon(dict(_section(name, words) for name, words in tomllib.loads(data.decode("utf-8")).items()))
    except (OSError, ValueError, BadInput) as error:
        reason = error.message if isinstance(error, BadInput) else error
        raise ConfigError(f"LEXICON ({path.name}) cannot be used: {reason}") from None


def _section(name: str, words: object) -> tuple[str, dict[str, str]]:
    """Check one section. Raises ValueError, BadInput."""
    if not isinstance(words, dict):
        raise ValueError(f"{name} must be in a section: a language such as [en], or [{ALL}]")
    for word, said in words.items():
        if not isinstance(said, str) or not said.strip("/ "):
            raise ValueError(f"{word} in [{name}] must have a spelling, or IPA between slashes")
        if not 1 <= len(_WORD.findall(word)) <= MAX_WORDS:
            raise ValueError(f"{word} in [{name}] must have 1 to {MAX_WORDS} words")
    code = ALL if name == ALL else language_code(name)
    if code is None:
        raise ValueError(f"[{name}] is not a language")
    return code, words


class LexicalSpeech:
    """A synthesiser with the deployment's pronunciations, as `pipeline.tts.TextToSpeech`."""

    def __init__(self, engine: TextToSpeech, lexicon: Lexicon) -> None:
        self._engine, self._lexicon = engine, lexicon
        self.follows_instructions = engine.follows_instructions
        self.reads_ipa = engine.reads_ipa

    def speaks(self, language: str) -> bool:
        """See `pipeline.tts.TextToSpeech`."""
        return self._engine.speaks(language)

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        """See `pipeline.tts.TextToSpeech`."""
        said = self._lexicon.apply(text, voice.language(language), ipa=self.reads_ipa)
        async with aclosing(self._engine.speak(said, voice=voice, language=language)) as clips:
            async for clip in clips:
                yield clip
