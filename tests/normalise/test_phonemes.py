"""Phonemes that eSpeak speaks for a text as the service sends it: those of a native reader's words."""

import ctypes as c
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pipeline.speech.normalise import for_voice


def phonemes(pairs: list[tuple[str, str]]) -> list[str]:
    """The phonemes of each text in its eSpeak voice, without stress and spaces. Runs in a subprocess, because the
    library has global state.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_phonemes, pairs).result(60)


def _phonemes(pairs: list[tuple[str, str]]) -> list[str]:
    import espeakng_loader

    library = c.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0x8000)
    library.espeak_TextToPhonemes.restype = c.c_char_p
    library.espeak_TextToPhonemes.argtypes = [c.POINTER(c.c_void_p), c.c_int, c.c_int]
    found = []
    for voice, text in pairs:
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"there is no voice {voice}")  # the library would crash if asked for phonemes now
        buffer = c.create_string_buffer(text.encode())
        rest = c.c_void_p(c.addressof(buffer))
        said = ""
        while rest.value:
            said += library.espeak_TextToPhonemes(c.byref(rest), 1, 2).decode()
        found.append("".join(char for char in said if char not in "ˈˌ ,\n"))
    return found


READ = [
    ("de", "de", "Es sind -5 Grad", "Es sind minus fünf Grad"),
    ("de", "de", "12,50 €", "zwölf Euro fünfzig"),
    ("de", "de", "50 %", "fünfzig Prozent"),
    ("fr", "fr", "Il fait -5 °C", "Il fait moins cinq degrés Celsius"),
    ("fr", "fr", "1 000 000 d'habitants", "un million d'habitants"),
    ("fr", "fr", "12,50 €", "douze euros cinquante"),
    ("it", "it", "50 %", "cinquanta per cento"),
    ("nl", "nl", "12,50 €", "twaalf euro vijftig"),
    ("pl", "pl", "5 %", "pięć procent"),
    ("ru", "ru", "5 °C", "пять градусов Цельсия"),
    ("ru", "ru", "100 ₽", "сто рублей"),
    ("pt", "pt-br", "R$ 2,5M", "dois vírgula cinco milhões de reais"),
    ("es", "es", "5 %-10 %", "cinco por ciento a diez por ciento"),
    ("en", "en-us", "$2.5M", "two point five million dollars"),
]


def test_espeak_speaks_the_words_of_a_native_reader() -> None:
    given = phonemes([(voice, for_voice(text, language)) for language, voice, text, _ in READ])
    meant = phonemes([(voice, words) for _, voice, _, words in READ])
    assert given == meant
    assert all(given)


LEFT = [(sign, code) for sign in ("-5", "5 %", "5 + 4", "5 & 4", "½", "5²") for code in ("sv", "cs", "tr", "da", "hu")]


def test_espeak_speaks_the_signs_left_to_it() -> None:
    """In languages without a table, the sign changes the speech."""
    given = phonemes([(code, for_voice(sign, code)) for sign, code in LEFT])
    without = phonemes([(code, "".join(char if char in "45 " else " " for char in sign)) for sign, code in LEFT])
    lost = [case for case, said, less in zip(LEFT, given, without, strict=True) if said == less]
    assert lost == []
