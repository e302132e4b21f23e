"""The pronunciations of LEXICON: which words they replace, in which language, and what the engines get."""

from contextlib import aclosing
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.speech.lexicon import LexicalSpeech, Lexicon, read_lexicon
from pipeline.speech.normalise import for_voice
from pipeline.tts.phonemes import as_ipa
from pipeline.voices.catalogue import Voice
from tests.scripted import ScriptedTTS

FILE = """
[en]
nginx = "engine x"
US = "U S"
"GPT-4" = "gee pee tee four"
"Home Assistant" = "home helper"
"Siobhán" = "/ʃɪvˈɔːn/"
gif = "jif"

[pt]
gif = "guife"

[all]
Parley = "Parlay"
gif = "giff"
"""


@pytest.fixture
def lexicon(tmp_path: Path) -> Lexicon:
    (tmp_path / "words.toml").write_text(FILE, "utf-8")
    return read_lexicon(tmp_path / "words.toml")


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("en", "Nginx and NGINX run.", "engine x and engine x run."),
        ("en", "Give us the US map.", "Give us the U S map."),
        ("en", "Is GPT-4 new?", "Is gee pee tee four new?"),
        ("en", "Home Assistant is here, at home.", "home helper is here, at home."),
        ("en", "Home. Assistant.", "Home. Assistant."),
        ("en-gb", "A gif.", "A jif."),
        ("pt-br", "Um gif.", "Um guife."),
        ("fr", "Un gif de Parley.", "Un giff de Parlay."),
        ("en", "Nginxes differ, and so does parley.", "Nginxes differ, and so does parley."),
        ("en", "Ask Siobhán!", f"Ask {as_ipa('ʃɪvˈɔːn')}!"),
        ("en", "", ""),
    ],
)
def test_words_are_respelled(lexicon: Lexicon, language: str, written: str, said: str) -> None:
    assert lexicon.apply(for_voice(written, language), language, ipa=True) == said


def test_engines_that_read_text_keep_words_with_ipa(lexicon: Lexicon) -> None:
    assert lexicon.apply("Ask Siobhán about nginx.", "en", ipa=False) == "Ask Siobhán about engine x."


async def test_every_clause_passes_through_the_lexicon(lexicon: Lexicon) -> None:
    tts = ScriptedTTS()
    async with aclosing(LexicalSpeech(tts, lexicon).speak("A gif.", voice=Voice("x"), language="pt")) as clips:
        assert [clip async for clip in clips]
    assert (tts.spoken, tts.languages) == (["A guife."], ["pt"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[en", "Expected"),
        ('nginx = "engine x"', "nginx must be in a section"),
        ("[en]\nnginx = 5", "must have a spelling"),
        ('[en]\nnginx = "//"', "must have a spelling"),
        ('[en]\n"***" = "stars"', "must have 1 to 6 words"),
        ('["??"]\na = "b"', "is not a language code"),
        ('[auto]\na = "b"', "is not a language"),
    ],
)
def test_unusable_file_is_reported(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "words.toml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_lexicon(tmp_path / "words.toml")
    with pytest.raises(ConfigError, match="No such file"):
        read_lexicon(tmp_path / "absent.toml")
