"""Edits of segments: which words keep their times, and which get new ones."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.stt import Segment, Word
from pipeline.transcripts.editing import cut, join, retexted
from pipeline.transcripts.line_breaks import clean


def spoken(text: str, *, word_s: float = 0.4, pause_s: float = 0.1) -> Segment:
    """A segment from 1 s on in which each word takes the same time."""
    words = [
        Word(word, 1 + n * (word_s + pause_s), 1 + n * (word_s + pause_s) + word_s, 0.9)
        for n, word in enumerate(text.split())
    ]
    return Segment(1.0, words[-1].end_s, text, "en", words)


def times(segment: Segment) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.start_s, 3), round(word.end_s, 3)) for word in segment.words]


def test_a_corrected_word_has_the_time_of_the_wrong_one() -> None:
    told = retexted(spoken("We meet Mister Knight today"), "We meet Mr. Night today")
    assert times(told) == [
        ("We", 1.0, 1.4), ("meet", 1.5, 1.9), ("Mr.", 2.0, 2.4), ("Night", 2.5, 2.9), ("today", 3.0, 3.4),
    ]  # fmt: skip


def test_words_of_another_number_share_the_time_between_those_kept() -> None:
    told = retexted(spoken("take the sub way home"), "take the subway home")
    assert times(told) == [("take", 1.0, 1.4), ("the", 1.5, 1.9), ("subway", 2.0, 2.9), ("home", 3.0, 3.4)]
    told = retexted(told, "take the sub and way home")
    assert times(told)[2:5] == [("sub", 2.0, 2.3), ("and", 2.3, 2.6), ("way", 2.6, 2.9)]
    assert [times(told)[n] for n in (0, 1, 5)] == [("take", 1.0, 1.4), ("the", 1.5, 1.9), ("home", 3.0, 3.4)]


def test_an_inserted_word_gets_the_pause_or_a_share_of_its_neighbour() -> None:
    told = retexted(spoken("one three", pause_s=0.6), "one two three")
    assert times(told) == [("one", 1.0, 1.4), ("two", 1.4, 2.0), ("three", 2.0, 2.4)]
    told = retexted(spoken("one three", pause_s=0.0), "one two three")
    assert times(told) == [("one", 1.0, 1.2), ("two", 1.2, 1.4), ("three", 1.4, 1.8)]
    told = retexted(spoken("two three", pause_s=0.0), "one two three")
    assert times(told) == [("one", 1.0, 1.2), ("two", 1.2, 1.4), ("three", 1.4, 1.8)]


def test_words_of_a_script_without_spaces_keep_their_times() -> None:
    words = [Word("今天", 0.0, 0.5, 1.0), Word("很", 0.5, 0.8, 1.0), Word("热", 0.8, 1.2, 1.0)]
    told = retexted(Segment(0.0, 1.2, "今天很热", "zh", words), "今天很冷。")
    assert times(told)[:2] == [("今天", 0.0, 0.5), ("很", 0.5, 0.8)]
    assert (times(told)[-1][0], times(told)[-1][2]) == ("冷。", 1.2)


def test_a_segment_is_cut_between_words_and_joined_again() -> None:
    whole = spoken("good morning everyone here")
    first, second = cut(whole, len("good morning "))
    assert (first.text, first.start_s, first.end_s) == ("good morning", 1.0, whole.words[1].end_s)
    assert (second.text, second.start_s, second.end_s) == ("everyone here", whole.words[2].start_s, whole.end_s)
    assert join(first, second) == whole
    every, one = cut(whole, len("good morning every"))
    assert (every.words[-1].text, one.words[0].text) == ("every", "one")
    assert every.words[-1].end_s == one.words[0].start_s == pytest.approx(2.25)
    for at in (0, len(whole.text), -1, 1000):
        with pytest.raises(BadInput):
            cut(whole, at)


WORDS = st.lists(st.sampled_from(["a", "be", "see", "the", "Morning.", "今", "don't"]), min_size=1, max_size=12)


@given(WORDS, WORDS, st.floats(0.0, 0.5))
def test_new_times_rise_and_cover_exactly_the_new_text(old: list[str], new: list[str], pause_s: float) -> None:
    segment = spoken(" ".join(old), pause_s=pause_s)
    told = retexted(segment, " ".join(new))
    assert "".join(word.text for word in told.words).replace(" ", "") == "".join(new)
    assert (told.start_s, told.end_s) == (segment.start_s, segment.end_s)
    edges = [at for word in told.words for at in (word.start_s, word.end_s)]
    assert all(one <= other + 1e-9 for one, other in pairwise(edges))
    assert segment.start_s - 1e-9 <= edges[0]
    assert edges[-1] <= segment.end_s + 1e-9
    if old == new:
        assert told == segment


@given(WORDS, st.integers(1, 60))
def test_a_cut_loses_no_text_and_no_time(words: list[str], at: int) -> None:
    segment = spoken(" ".join(words))
    if not segment.text[:at].strip() or not segment.text[at:].strip():
        return
    first, second = cut(segment, at)
    assert clean(first.text + second.text).replace(" ", "") == "".join(words)
    assert segment.start_s <= first.start_s <= first.end_s <= second.start_s + 1e-9 <= second.end_s + 2e-9
    for part in (first, second):
        assert "".join(word.text for word in part.words).replace(" ", "") == part.text.replace(" ", "")
