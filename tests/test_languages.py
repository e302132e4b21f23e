"""Language codes and names as users, clients and standards write them."""

import json
import shutil
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from commands import cli
from pipeline.assistant import NOTHING_KNOWN
from pipeline.engines import EngineInfo, Running
from pipeline.errors import BadInput
from pipeline.languages import _OTHER, NAMES, language_code
from pipeline.settings import Settings
from pipeline.stt import SpeechToText
from pipeline.stt.recognisers import Recognisers
from server.realtime.errors import RealtimeError
from server.realtime.transcription import hearing_of
from tests.scripted import ScriptedSTT

LONG = {
    "af": "afr", "am": "amh", "ar": "ara", "as": "asm", "az": "aze", "ba": "bak", "be": "bel", "bg": "bul",
    "bn": "ben", "bo": "bod tib", "br": "bre", "bs": "bos", "ca": "cat", "cs": "ces cze", "cy": "cym wel", "da": "dan",
    "de": "deu ger", "el": "ell gre", "en": "eng", "es": "spa", "et": "est", "eu": "eus baq", "fa": "fas per",
    "fi": "fin", "fo": "fao", "fr": "fra fre", "gl": "glg", "gu": "guj", "ha": "hau", "haw": "haw", "he": "heb",
    "hi": "hin", "hr": "hrv", "ht": "hat", "hu": "hun", "hy": "hye arm", "id": "ind", "is": "isl ice", "it": "ita",
    "ja": "jpn", "jw": "jav", "ka": "kat geo", "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "la": "lat",
    "lb": "ltz", "ln": "lin", "lo": "lao", "lt": "lit", "lv": "lav", "mg": "mlg", "mi": "mri mao", "mk": "mkd mac",
    "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa may", "mt": "mlt", "my": "mya bur", "ne": "nep", "nl": "nld dut",
    "nn": "nno", "no": "nor nob", "oc": "oci", "pa": "pan", "pl": "pol", "ps": "pus", "pt": "por", "ro": "ron rum",
    "ru": "rus", "sa": "san", "sd": "snd", "si": "sin", "sk": "slk slo", "sl": "slv", "sn": "sna", "so": "som",
    "sq": "sqi alb", "sr": "srp", "su": "sun", "sv": "swe", "sw": "swa", "ta": "tam", "te": "tel", "tg": "tgk",
    "th": "tha", "tk": "tuk", "tl": "tgl fil", "tr": "tur", "tt": "tat", "uk": "ukr", "ur": "urd", "uz": "uzb",
    "vi": "vie", "yi": "yid", "yo": "yor", "yue": "yue", "zh": "zho chi cmn",
}  # fmt: skip
"""Each language that Whisper knows, with its codes of ISO 639-2 (both lists) and 639-3."""

SHORTENED = """
const letters = [..."abcdefghijklmnopqrstuvwxyz"];
const all = letters.flatMap((a) => letters.flatMap((b) => letters.map((c) => a + b + c)));
const shortened = all.map((code) => [code, Intl.getCanonicalLocales(code)[0].split("-")[0]]);
console.log(JSON.stringify(Object.fromEntries(shortened.filter(([, code]) => code.length === 2))));
"""


def test_every_language_is_known_by_all_its_codes_and_its_name() -> None:
    assert LONG.keys() == NAMES.keys()
    for code, long in LONG.items():
        for one in (code, *long.split()):
            for written in (one, one.upper(), f"{one}-XX", f"{one}_XX", f"{one}-Latn-XX", f" {one}\n"):
                assert language_code(written) == code, written
        name = NAMES[code]
        for written in (name, name.title(), name.upper().replace("_", " "), name.replace("_", "  ")):
            assert language_code(written) == code, written


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_long_code_of_a_language_with_a_short_one_means_the_short_one() -> None:
    """All codes of three letters, against the table of ICU."""
    told = subprocess.run(["node", "--eval", SHORTENED], check=True, capture_output=True, text=True).stdout
    short: dict[str, str] = json.loads(told) | {"twi": "tw"}  # ICU counts Twi as Akan, but it has a short code
    assert len(short) > 190
    assert {long: language_code(long) for long in short} == {long: language_code(code) for long, code in short.items()}


def test_realtime_sessions_take_long_codes() -> None:
    own: Running[SpeechToText] = Running(ScriptedSTT(), EngineInfo("stt", "scripted", "", "", 0.0))
    recognisers = Recognisers(Settings(), own, NOTHING_KNOWN)
    assert hearing_of({"language": "ger"}, recognisers).language == "de"
    assert hearing_of({"languages": ["por", "fre"]}, recognisers).languages == ("pt", "fr")
    with pytest.raises(RealtimeError, match="language code"):
        hearing_of({"language": "12"}, recognisers)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en-US", "en"), ("pt_BR", "pt"), ("zh-Hans-CN", "zh"), ("zh-yue", "yue"), ("zh_Yue_HK", "yue"),
        ("en_US.UTF-8", "en"), ("nb-NO", "no"), ("iw", "he"), ("jv", "jw"), ("Castilian", "es"), ("auto", None),
        ("", None), (None, None), ("gle", "ga"), ("eo", "eo"), ("grc", "grc"), ("py", "py"),
    ],
)  # fmt: skip
def test_locale_names_and_obsolete_codes_are_understood(written: str | None, code: str | None) -> None:
    assert language_code(written) == code


@given(st.text(max_size=12))
def test_invalid_languages_raise_only_bad_input(written: str) -> None:
    with suppress(BadInput):
        code = language_code(written)
        assert code is None or (code.isascii() and code.isalpha() and code.islower() and len(code) <= 3)


def test_setting_accepts_any_form_of_a_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH_LANGUAGE", "Portuguese")
    assert Settings(_env_file=None).speech_language == "pt"  # type: ignore[call-arg]
    for unknown in ("?!", "zz", "xx-YY"):
        monkeypatch.setenv("SPEECH_LANGUAGE", unknown)
        with pytest.raises(ValidationError, match="language code"):
            Settings(_env_file=None)  # type: ignore[call-arg]


def test_every_code_that_a_long_one_stands_for_is_a_language() -> None:
    for code in {*_OTHER.values()}:
        assert language_code(code) == code


@pytest.mark.parametrize("command", [("say", "hi"), ("talk", "x.wav"), ("transcribe", "x.wav")])
def test_commands_reject_an_invalid_language(command: tuple[str, ...]) -> None:
    told = CliRunner().invoke(cli, [*command, "--language", "?!"])
    assert told.exit_code == 2
    assert "language code" in told.output
