"""The spelling of keywords in a transcript that was made without them."""

import pytest

from pipeline.stt import Segment, Transcript, Word
from pipeline.stt.spelling import likeness, spelled, spelled_segments

KEYWORDS = ("Ljubljana", "Ana Sofia", "Saoirse", "Kowalczyk", "Parley", "東京")


def text_of(plain: str, hinted: str) -> str:
    return spelled(Transcript(plain, "en", 1.0), hinted, KEYWORDS).text


@pytest.mark.parametrize(
    ("plain", "hinted", "text"),
    [
        ("Our flight to Lubliana leaves.", "Our flight to Ljubljana leaves.", "Our flight to Ljubljana leaves."),
        ("Our flight to Lub Liana leaves.", "alpha Ljubljana, Ljubljana leaves", "Our flight to Ljubljana leaves."),
        ("Ask anna sophia, please.", "ask Ana Sofia", "Ask Ana Sofia, please."),
        ("Is Sophia here?", "Is Sofia here?", "Is Sofia here?"),
        ("Is Sircha coming?", "Saoirse coming", "Is Saoirse coming?"),
        ("Doctor Covalchik's bill", "Doctor Kowalczyk's bill", "Doctor Kowalczyk's bill"),
        ("z Kowalczikem rano", "z Kowalczykiem rano", "z Kowalczykiem rano"),
        ("ask parley", "Ask Parley", "ask Parley"),
        ("我住在东京都。", "我住在東京都。", "我住在東京都。"),
        ("Позови Парлей сюда.", "Позови Parley сюда.", "Позови Parley сюда."),
    ],
)
def test_keywords_replace_what_sounds_like_them(plain: str, hinted: str, text: str) -> None:
    assert text_of(plain, hinted) == text


@pytest.mark.parametrize(
    ("plain", "hinted"),
    [
        ("Paint the room blue.", "Ana Sofia the room blue."),
        ("The room is blue.", "The room is blue, Parley."),
        ("The room is blue.", ""),
        ("", "Parley"),
        ("The room is blue.", "The rooms were red."),
        ("Sing Ljubljana, Ljubljana!", "Ljubljana"),
        ("Позови его сюда быстро.", "Parley"),
    ],
)
def test_other_words_stay(plain: str, hinted: str) -> None:
    assert text_of(plain, hinted) == plain


def test_words_and_segments_have_the_new_spelling() -> None:
    words = [Word(text, n, n + 1.0, 0.9) for n, text in enumerate(("To", "Lub", "Liana,", "Anna", "Sophia!"))]
    first = Segment(0.0, 3.0, "To Lub Liana,", words=words[:3])
    second = Segment(3.0, 5.0, "Anna Sophia!", words=words[3:])
    found = spelled_segments([first, second], "To Ljubljana, Ana Sofia!", KEYWORDS)
    assert [one.text for one in found] == ["To Ljubljana,", "Ana Sofia!"]
    assert [(word.text, word.start_s, word.end_s) for one in found for word in one.words] == [
        ("To", 0.0, 1.0), ("Ljubljana,", 1.0, 3.0), ("Ana", 3.0, 4.0), ("Sofia!", 4.0, 5.0),
    ]  # fmt: skip
    assert spelled_segments([first, second], "To the lake.", KEYWORDS) == [first, second]


@pytest.mark.parametrize(
    ("name", "heard", "other"),
    [("Aoife", "Eva", "paint"), ("Eoghan", "Owen", "train"), ("Zbigniew", "Zabignev", "has already"),
     ("Wojciech", "Voychek", "contract to"), ("Xanthippe", "Zan Tippy", "bring the")],
)  # fmt: skip
def test_likeness_is_that_of_the_sound(name: str, heard: str, other: str) -> None:
    assert likeness(name, heard) > 0.6 > likeness(name, other)
