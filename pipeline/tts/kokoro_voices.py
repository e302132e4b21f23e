"""Names and languages of Kokoro's voices."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.voices.catalogue import Voice

LANGUAGES = {"en": "en-us", "es": "es", "fr": "fr", "hi": "hi", "it": "it", "pt": "pt-br"}
"""Language → the eSpeak voice that gives its phonemes. The model also has voices for Japanese and Chinese, but eSpeak
reads neither kanji nor Chinese tones in the form that it was trained on."""
REGIONS = {"en-us": "en-us", "en-gb": "en-gb", "pt-pt": "pt", "pt-br": "pt-br", "es-419": "es-419"}
"""Regional variants of these languages → their eSpeak voice."""
OF_LETTER = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "zh",
}  # fmt: skip
"""First letter of a voice's name → the language that it was trained on."""
WOMAN, MAN = "af_heart", "am_michael"
"""Voices that replace those that are not installed."""
OPENAI = {
    "alloy": ("af_alloy", WOMAN), "ash": ("am_eric", MAN), "ballad": ("bm_george", MAN), "cedar": ("am_fenrir", MAN),
    "coral": ("af_bella", WOMAN), "echo": ("am_echo", MAN), "fable": ("bm_fable", MAN), "marin": (WOMAN, WOMAN),
    "nova": ("af_nova", WOMAN), "onyx": ("am_onyx", MAN), "sage": ("af_sarah", WOMAN), "shimmer": ("af_sky", WOMAN),
    "verse": ("am_puck", MAN),
}  # fmt: skip
"""OpenAI's voice → a similar one here, and its replacement."""
LICENCE = "Kokoro-82M by hexgrad, Apache-2.0."


def find_voices(folders: list[Path]) -> dict[str, Path]:
    """Return voice name → file; the first folder that has a voice wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("[a-z][fm]_*.bin")):
            if file.name[0] in OF_LETTER:
                found.setdefault(file.stem, file)
    return found


def built_in(files: Mapping[str, Path]) -> list[Voice]:
    """Describe the model's voices, also under OpenAI's names."""
    voices = [_voice(name, name) for name in files]
    for name, choices in OPENAI.items():
        voices += [_voice(name, own) for own in [own for own in choices if own in files][:1]]
    return voices


def _voice(name: str, own: str) -> Voice:
    language = OF_LETTER[own[0]].partition("-")[0]
    kind = "woman" if own[1] == "f" else "man"
    description = f"A {kind}'s voice of Kokoro, for {OF_LETTER[own[0]]}."
    return Voice(name, description, (), (language,), {"kokoro": {"voice": own}}, LICENCE)


def choose(voice: Voice, language: str, files: Mapping[str, Path]) -> str:
    """Return the model's voice for a voice of this service: the voice's own for the language; else its `voice`, if that
    one was trained on the language; else one that was, if possible of the same sex; else any. files: not empty.

    A voice speaks another language than its own badly: Whisper base misheard 82 % of the words of a text in French by
    am_michael, 21 % by ff_siwis; in Spanish 33 % and 8 %.
    """
    own = voice.engines.get("kokoro", {})
    plain = language.partition("-")[0]
    for name in (own.get(language), own.get(plain)):
        if name in files:
            return str(name)
    usual = str(own.get("voice", WOMAN))
    trained = [name for name in (usual, WOMAN, *files) if name in files and _trained_on(name) == plain]
    same = [name for name in trained if name[1] == usual[1:2]]
    others = [usual] if usual in files else list(files)
    return next(iter((trained[:1] if usual in trained else same) or trained or others))


def _trained_on(name: str) -> str:
    return OF_LETTER[name[0]].partition("-")[0]


def espeak_voice(language: str, own: str) -> str | None:
    """Return the eSpeak voice for a language spoken by the model's voice `own`; None: not spoken. A British voice reads
    plain English as British."""
    plain, region, _ = language.partition("-")
    if plain not in LANGUAGES:
        return None
    trained = OF_LETTER[own[0]]
    if not region and trained.partition("-")[0] == plain:
        return trained
    return REGIONS.get(language, LANGUAGES[plain])
