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
]


@pytest.mark.parametrize(("usual", "text", "language"), TEXTS)
def test_the_alphabet_decides_the_language(usual: str, text: str, language: str) -> None:
    assert text_language(text, usual=usual, speaks=lambda code: True) == language


def test_a_language_without_a_voice_is_not_chosen() -> None:
    assert text_language("Привет", usual="en", speaks=lambda code: code == "en") == "en"
    assert text_language("Привет", usual="pt", speaks=lambda code: code in ("pt", "ru")) == "ru"


def test_a_clause_without_letters_keeps_the_previous_language() -> None:
    assert text_language("12, 13.", usual="en", speaks=lambda code: True, before="ru") == "ru"
