"""Times of the words of a synthesised text."""

from pipeline.stt import Word
from pipeline.transcripts.spoken_words import matched

WRITTEN = ["It", "is", "3", "o'clock,", "Ana!"]


def heard(text: str) -> list[Word]:
    """Return words of 0.2 s each."""
    return [Word(word, 0.2 * index, 0.2 * index + 0.2, 0.9) for index, word in enumerate(text.split())]


def test_written_words_get_the_times_of_the_heard_ones() -> None:
    found = matched(WRITTEN, heard("it is three o'clock Anna"), 1.0)
    assert [word.text for word in found] == WRITTEN
    assert [(round(word.start_s, 3), round(word.end_s, 3)) for word in found[:4]] == [
        (0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8),
    ]  # fmt: skip
    assert (found[4].start_s, found[4].end_s) == (0.8, 1.0)


def test_words_that_are_not_heard_share_the_time() -> None:
    times = [time for word in matched(WRITTEN, [], 2.0) for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0.0, 2.0)
    assert matched([], heard("a"), 1.0) == []
