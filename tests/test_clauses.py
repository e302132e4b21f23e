"""Clauses: short at first, whole sentences later, and no boundary inside numbers, abbreviations or code."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.speech.clauses import Clause, ClauseSplitter, clauses, split

STORY = (
    "Once upon a time there was a lighthouse, small and white. Every evening it lit its lamp. "
    "One night a thick fog rolled in, and not a single ship could see the light! What now? It began to sing."
)


def texts(text: str, language: str | None = "en", max_chars: int = 220) -> list[str]:
    return [clause.text for clause in split(text, language, max_chars)]


def in_pieces(text: str, cuts: list[int], **options: object) -> list[Clause]:
    splitter = ClauseSplitter(**options)  # type: ignore[arg-type]
    ends = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    found = []
    for start, end in pairwise(ends):
        found += splitter.feed(text[start:end])
    return [*found, *splitter.finish()]


@pytest.mark.parametrize(
    ("reply", "first"),
    [
        (STORY, "Once upon a time there was a lighthouse,"),
        ("Hello! How can I help you today?", "Hello! How can I help you today?"),
        ("Well, yes, I think so. Really.", "Well, yes, I think so."),
        ("Here is the plan: we leave early.", "Here is the plan:"),
        ("I would go — if I could.", "I would go —"),
        (
            "one two three four five six seven eight nine ten eleven twelve",
            "one two three four five six seven eight nine ten",
        ),
        ("I went to the market because it was raining all of the day", "I went to the market"),
        ("Esta é a resposta que você pediu para o seu trabalho de hoje", "Esta é a resposta que você pediu"),
        ("今天天气很好，我们去公园吧。", "今天天气很好，"),
    ],
)
def test_first_clause_is_short(reply: str, first: str) -> None:
    assert texts(reply, None)[0] == first


def test_first_clause_comes_as_soon_as_it_is_certain() -> None:
    splitter = ClauseSplitter(language="en")
    assert splitter.feed("Once upon a time, ") != []
    splitter = ClauseSplitter(language="en")
    assert splitter.feed("It is 3.") == []
    assert splitter.feed("14") == []
    assert [clause.text for clause in splitter.feed(". Really.")] == ["It is 3.14."]


def test_later_clauses_are_whole_sentences() -> None:
    assert texts(STORY)[1:] == [
        "small and white. Every evening it lit its lamp.",
        "One night a thick fog rolled in, and not a single ship could see the light!",
        "What now? It began to sing.",
    ]


@pytest.mark.parametrize(
    ("language", "whole"),
    [
        ("en", "It weighs 3.14 kilograms"),
        ("en", "It costs 1,000 dollars"),
        ("en", "I asked Dr. Smith and Mrs. Jones"),
        ("en", "We need some fruit e.g. apples"),
        ("en", "The U.S. team has won"),
        ("en", "We meet at 10:30 tomorrow"),
        ("en", "It is at 6 p.m. today"),
        ("en", "He lives at No. 5 there"),
        ("en", "J. K. Rowling wrote that"),
        ("en", "Look at https://example.org/a,b.c?d=e:f now"),
        ("en", "Call `run(a, b. c)` there"),
        ("en", "See [the page, or. not](https://example.org) there"),
        ("en", "Version 2.0.1 is out"),
        ("pt", "O Sr. Silva e a Sra. Ana"),
        ("pt", "Compre frutas p.ex. maçãs"),
        ("pt", "Custa R$ 1.234,56 no total"),
        ("es", "El Sr. Pérez y Ud. vienen"),
        ("es", "Son 3,14 metros"),
        (None, "Dr. Smith and Sra. Ana"),
    ],
)
def test_no_boundary_inside_numbers_abbreviations_and_code(language: str | None, whole: str) -> None:
    assert texts(f"{whole}, and then something else follows.", language)[0] == f"{whole},"


def test_list_items_are_separate_clauses() -> None:
    reply = (
        "You need these things:\n\n1. Two large ripe bananas\n2. Half a liter of fresh milk\n- Some vanilla ice cream\n"
    )
    assert texts(reply) == [
        "You need these things:",
        "1. Two large ripe bananas",
        "2. Half a liter of fresh milk",
        "- Some vanilla ice cream",
    ]


@pytest.mark.parametrize(
    ("reply", "clauses"),
    [
        (
            "You have three options: 1. Take the early train. 2. Drive there by car. 3. Stay at home today.",
            ["You have three options:", "1. Take the early train.", "2. Drive there by car.", "3. Stay at home today."],
        ),
        (
            "The best ones are these: 1. Bananas and apples 2. Oranges and pears 3. Plums and grapes. Enjoy your meal!",
            [
                "The best ones are these:",
                "1. Bananas and apples 2. Oranges and pears 3. Plums and grapes.",
                "Enjoy your meal!",
            ],
        ),
        (
            "We waited for you until 3. Then we went home again.",
            ["We waited for you until 3.", "Then we went home again."],
        ),
    ],
)
def test_number_of_an_inline_item_stays_with_its_text(reply: str, clauses: list[str]) -> None:
    assert texts(reply) == clauses


def test_literal_newline_escape_ends_a_clause() -> None:
    assert texts(r"Here is the first line\nAnd here is the second one\n\nBye for now my friend") == [
        r"Here is the first line\n",
        r"And here is the second one\n",
        r"\nBye for now my friend",
    ]
    assert texts(r"Open C:\new\notes and look there") == [r"Open C:\new\notes and look there"]
    assert texts(r"It says x \neq y in the book") == [r"It says x \neq y in the book"]


def test_very_short_sentences_are_joined() -> None:
    assert texts("That is right, yes. No. Maybe. It depends on the weather. Ok.") == [
        "That is right,",
        "yes. No. Maybe. It depends on the weather.",
        "Ok.",
    ]


def test_wide_punctuation_ends_sentences() -> None:
    assert texts(
        "我今天想去公园散步，你想一起去吗？那里有很多花和树，风景非常漂亮。我们下午三点在门口见面吧！好。", "zh"
    ) == [
        "我今天想去公园散步，",
        "你想一起去吗？那里有很多花和树，风景非常漂亮。",
        "我们下午三点在门口见面吧！",
        "好。",
    ]


@pytest.mark.parametrize("limit", [20, 80, 220])
def test_no_clause_is_longer_than_the_limit(limit: int) -> None:
    for text in (STORY, "word " * 300, "x" * 1000, "a, " * 300, "好" * 500):
        assert all(len(clause.text) <= limit for clause in split(text, "en", limit))


def test_long_sentence_is_cut_at_a_clause_or_at_a_word() -> None:
    long = (
        "The first part of it is here, and more of it follows after that, " + "without any stop at all " * 5 + "ever."
    )
    found = texts(f"Let me see now. {long}", max_chars=100)
    assert found[1] == "The first part of it is here, and more of it follows after that,"
    assert " ".join(found[1:]) == long


def test_empty_text_has_no_clauses() -> None:
    assert split("") == split(" \n\t ") == []


@given(
    st.text(alphabet=st.sampled_from("ab12n\\ .,:;!?\n-—`[]()。、'\"DrX/é好"), max_size=80),
    st.lists(st.integers(0, 200)),
)
def test_clauses_do_not_depend_on_the_deltas(text: str, cuts: list[int]) -> None:
    options = {"max_chars": 30}
    assert in_pieces(text, cuts, **options) == in_pieces(text, [], **options)


@given(st.text(max_size=300), st.lists(st.integers(0, 300)), st.sampled_from(["en", "pt", "es", "zh", None]))
def test_every_character_is_in_one_clause_and_in_order(text: str, cuts: list[int], language: str | None) -> None:
    found = in_pieces(text, cuts, language=language, max_chars=40)
    rest, position = "", 0
    for clause in found:
        assert text[clause.start : clause.end] == clause.text == clause.text.strip() != ""
        assert len(clause.text) <= 40
        rest += text[position : clause.start]
        position = clause.end
    assert (rest + text[position:]).strip() == ""


def test_hostile_text_takes_linear_time() -> None:
    for text in ("." * 10_000, "a." * 5_000, "`" * 10_000, "[" * 10_000, "1" * 10_000, " " * 10_000, "—" * 10_000):
        begun = time.thread_time()
        split(text, None)
        assert time.thread_time() - begun < 1


async def test_clauses_stream_and_closing_closes_the_source() -> None:
    written: list[str] = []
    closed = asyncio.Event()

    async def deltas() -> AsyncIterator[str]:
        try:
            for word in STORY.split(" "):
                written.append(word)
                yield word + " "
        finally:
            closed.set()

    spoken = clauses(deltas(), language="en")
    first = await anext(spoken)
    assert first == Clause("Once upon a time there was a lighthouse,", 0, 40)
    assert len(written) == 8
    await spoken.aclose()
    assert closed.is_set()


async def test_source_error_is_raised_after_the_certain_clauses() -> None:
    async def deltas() -> AsyncIterator[str]:
        yield "Once upon a time, there "
        raise ConnectionError

    heard = []
    with pytest.raises(ConnectionError):
        async for clause in clauses(deltas()):
            heard.append(clause.text)
    assert heard == ["Once upon a time,"]
