"""Speaker turns assigned to words, and names from one diarizer for the turns of another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stt import Segment, Word
from pipeline.transcripts.speakers import SpeakerTurn
from pipeline.transcripts.speakers.assigning import with_names, with_speakers


def turns(*told: tuple[float, float, str]) -> list[SpeakerTurn]:
    return [SpeakerTurn(*one) for one in told]


def test_a_speaker_gets_the_name_with_most_of_their_time() -> None:
    found = turns((0, 4, "x"), (5, 9, "y"), (10, 14, "x"), (15, 16, "z"))
    heard = turns((0, 5, "Ana"), (5, 9.5, "A"), (9.5, 13, "Ana"), (13, 14, "A"), (15, 16, "B"))
    assert [one.speaker for one in with_names(found, heard, ["Ana", "Ben"])] == ["Ana", "A", "Ana", "B"]


def test_each_name_is_used_once_and_known_names_are_not_letters() -> None:
    found = turns((0, 4, "x"), (4, 6, "y"))
    heard = turns((0, 6, "A"))
    assert [one.speaker for one in with_names(found, heard, ["A"])] == ["A", "B"]
    assert [one.speaker for one in with_names(found, heard, [])] == ["A", "B"]


def test_a_name_heard_for_less_than_half_is_not_used() -> None:
    found = turns((0, 10, "x"))
    assert [one.speaker for one in with_names(found, turns((0, 4, "Ana")), ["Ana"])] == ["A"]
    assert with_names([], turns((0, 4, "Ana")), ["Ana"]) == []
    assert [one.speaker for one in with_names(found, [], ["Ana"])] == ["A"]


def cut(
    said: list[tuple[str, float, float]], between: str, who: list[SpeakerTurn]
) -> list[tuple[str | None, str, list[str]]]:
    words = [Word(text, start_s, end_s, 1.0) for text, start_s, end_s in said]
    segment = Segment(0.0, max(word.end_s for word in words), between.join(word.text for word in words), words=words)
    return [(one.speaker, one.text, [word.text for word in one.words]) for one in with_speakers([segment], who)]


@pytest.mark.parametrize(
    ("said", "between", "who", "wanted"),
    [
        pytest.param(
            [("what", 0, 0.6), ("time", 0.6, 0.6), ("is", 0.6, 1.06), ("it", 1.06, 1.2)], " ",
            turns((0, 0.6, "A"), (0.6, 2, "B")),
            [("A", "what time", ["what", "time"]), ("B", "is it", ["is", "it"])],
            id="a word without length at the change",
        ),
        pytest.param(
            [("a", 0, 0.5), ("b", 2.0, 2.4), ("c", 1.0, 1.2), ("d", 2.5, 3)], " ", turns((0, 1, "A"), (1, 3, "B")),
            [("A", "a", ["a"]), ("B", "b c d", ["b", "c", "d"])],
            id="times that are not in the order of the words",
        ),
        pytest.param(
            [("今天", 0, 1), ("天气，", 1, 2), ("很好", 2, 3)], "", turns((0, 1.4, "A"), (1.4, 3, "B")),
            [("A", "今天", ["今天"]), ("B", "天气，很好", ["天气，", "很好"])],
            id="a script without spaces",
        ),
        pytest.param(
            [("it", 0, 1), ("'s", 1, 2), ("me", 2, 3)], "", turns((0, 1, "A"), (1, 3, "B")),
            [("B", "it'sme", ["it", "'s", "me"])],
            id="a word in parts is not cut",
        ),
    ],
)  # fmt: skip
def test_each_word_is_in_one_segment_with_matching_text(
    said: list[tuple[str, float, float]],
    between: str,
    who: list[SpeakerTurn],
    wanted: list[tuple[str, str, list[str]]],
) -> None:
    assert cut(said, between, who) == wanted


TIMES = st.tuples(st.floats(0, 20), st.floats(0, 3)).map(lambda one: (one[0], one[0] + one[1]))


@given(
    st.lists(st.tuples(st.text("ab天气,", min_size=1, max_size=4), TIMES), min_size=1, max_size=10),
    st.sampled_from([" ", ""]),
    st.lists(st.tuples(TIMES, st.sampled_from("AB")), min_size=1, max_size=6),
)
def test_no_word_or_text_is_lost_or_doubled(
    said: list[tuple[str, tuple[float, float]]], between: str, who: list[tuple[tuple[float, float], str]]
) -> None:
    words = [(text, *times) for text, times in said]
    found = cut(words, between, sorted(turns(*((*times, name) for times, name in who)), key=lambda one: one.start_s))
    assert [word for _, _, some in found for word in some] == [text for text, _, _ in words]
    assert "".join(text for _, text, _ in found).replace(" ", "") == "".join(text for text, _, _ in words)
    for _, text, some in found:
        assert text.replace(" ", "") == "".join(some)


def test_a_segment_without_text_has_no_speaker() -> None:
    assert with_speakers([Segment(0.0, 1.0, " ")], turns((0, 1, "A"))) == []
