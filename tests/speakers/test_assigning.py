"""Names of one diarizer for the turns of another."""

from pipeline.speakers import SpeakerTurn
from pipeline.speakers.assigning import with_names


def turns(*told: tuple[float, float, str]) -> list[SpeakerTurn]:
    return [SpeakerTurn(*one) for one in told]


def test_a_speaker_has_the_name_that_is_heard_for_most_of_his_time() -> None:
    found = turns((0, 4, "x"), (5, 9, "y"), (10, 14, "x"), (15, 16, "z"))
    heard = turns((0, 5, "Ana"), (5, 9.5, "A"), (9.5, 13, "Ana"), (13, 14, "A"), (15, 16, "B"))
    assert [one.speaker for one in with_names(found, heard, ["Ana", "Ben"])] == ["Ana", "A", "Ana", "B"]


def test_a_name_is_one_speakers_and_no_letter_is_taken_for_it() -> None:
    found = turns((0, 4, "x"), (4, 6, "y"))
    heard = turns((0, 6, "A"))
    assert [one.speaker for one in with_names(found, heard, ["A"])] == ["A", "B"]
    assert [one.speaker for one in with_names(found, heard, [])] == ["A", "B"]


def test_less_than_half_is_nobodys_name() -> None:
    found = turns((0, 10, "x"))
    assert [one.speaker for one in with_names(found, turns((0, 4, "Ana")), ["Ana"])] == ["A"]
    assert with_names([], turns((0, 4, "Ana")), ["Ana"]) == []
    assert [one.speaker for one in with_names(found, [], ["Ana"])] == ["A"]
