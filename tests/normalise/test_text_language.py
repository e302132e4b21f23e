"""The language in which a text is pronounced when the caller does not specify one."""

import pytest

from pipeline.speech.language import text_language

TEXTS = [
    ("en", "Привет, как дела?", "ru"),
    ("en", "Привіт, як твої справи?", "uk"),
    ("uk", "Дуже добре, дякую", "uk"),
    ("uk", "Это съедобный объект, который мы ищем", "ru"),
    ("be", "Гэта быў добры дзень, сябры", "be"),
    ("bg", "Добър ден", "bg"),
    ("en", "Καλημέρα κόσμε", "el"),
    ("en", "مرحبا بالعالم", "ar"),
    ("en", "سلام، چطوری؟ پنجره", "fa"),
    ("en", "آپ کیسے ہیں؟ ٹھیک", "ur"),
    ("en", "שלום עולם", "he"),
    ("en", "नमस्ते दुनिया", "hi"),
    ("mr", "नमस्कार", "mr"),
    ("en", "ওহে বিশ্ব", "bn"),
    ("en", "வணக்கம்", "ta"),
    ("en", "హలో", "te"),
    ("en", "สวัสดีชาวโลก", "th"),
    ("en", "გამარჯობა", "ka"),
    ("en", "Բարեւ", "hy"),
    ("en", "안녕하세요 세계", "ko"),
    ("en", "こんにちは", "ja"),
    ("en", "東京駅で電車に乗る", "ja"),
    ("en", "コーヒー", "ja"),
    ("en", "你好，世界", "zh"),
    ("ja", "東京", "ja"),
    ("en", "Hello", "en"),
    ("pt-br", "Olá", "pt-br"),
    ("zh-cn", "你好", "zh-cn"),
    ("ru", "Hello there", "en"),
    ("ru", "Это iPhone 15 Pro", "ru"),
    ("en", "The word спасибо means thank you", "en"),
    ("ru", "12, 13!", "ru"),
    ("en", "", "en"),
    ("en", "😀", "en"),
    ("en", "Je n'ai pas trouvé cette chanson.", "fr"),
    ("fr", "I could not find that song.", "en"),
    ("pt-br", "I could not find that song.", "en"),
    ("pt-br", "Não encontrei essa música.", "pt-br"),
    ("en", "¿Quieres que te lea el resto del mensaje?", "es"),
    ("ru", "Wie wird das Wetter morgen in Hamburg?", "de"),
    ("en", "Времето утре ще бъде слънчево и топло.", "bg"),
]


@pytest.mark.parametrize(("usual", "text", "language"), TEXTS)
def test_the_alphabet_decides_the_language(usual: str, text: str, language: str) -> None:
    assert text_language(text, usual=usual, speaks=lambda code: True) == language


def test_a_language_without_a_voice_is_not_chosen() -> None:
    assert text_language("Привет", usual="en", speaks=lambda code: code == "en") == "en"
    assert text_language("Привет", usual="pt", speaks=lambda code: code in ("pt", "ru")) == "ru"


def test_a_clause_without_letters_keeps_the_previous_language() -> None:
    assert text_language("12, 13.", usual="en", speaks=lambda code: True, before="ru") == "ru"


@pytest.mark.parametrize("text", ["OK.", "Carlos Hernández.", "The word merci means thank you.", "USB-C and Wi-Fi."])
def test_short_and_mixed_texts_stay_in_the_conversation(text: str) -> None:
    assert text_language(text, usual="en", speaks=lambda code: True) == "en"


def test_uncertain_clause_keeps_the_language_of_the_previous_one() -> None:
    assert text_language("Oui.", usual="en", speaks=lambda code: True, before="fr") == "fr"
    assert text_language("Oui.", usual="en", speaks=lambda code: True, before="ru") == "en"


def test_a_language_that_the_voice_lacks_is_not_detected() -> None:
    text = "Je n'ai pas trouvé cette chanson."
    assert text_language(text, usual="en", speaks=lambda code: code in ("en", "de")) == "en"


def test_fixed_language_applies_to_its_alphabet_only() -> None:
    def spoken(text: str) -> str:
        return text_language(text, usual="pt", speaks=lambda code: True, fixed=True)

    assert spoken("I could not find that song.") == "pt"
    assert spoken("Привет, как дела?") == "ru"
