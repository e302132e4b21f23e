"""The rule for complete files in a watched folder, on virtual time."""

from jobs.folders.looking import Stamp
from jobs.folders.settling import Settling


def stamp(size: int, mtime: int = 0) -> Stamp:
    return Stamp(size, mtime)


def paths(settling: Settling, now: float) -> list[str]:
    return [path for path, _ in settling.settled(now)]


def test_a_file_is_complete_when_it_has_not_changed_for_a_while() -> None:
    settling = Settling()
    for now, size in [(0.0, 1), (2.0, 2), (4.0, 3), (13.0, 3)]:  # it grows, and pauses
        settling.seen({"a.mp3": stamp(size)}, now)
        assert paths(settling, now) == []
    assert paths(settling, 13.9) == []
    assert paths(settling, 14.0) == ["a.mp3"]


def test_a_file_of_constant_size_whose_time_changes_is_not_complete() -> None:
    """Some programs reserve the whole file first."""
    settling = Settling()
    for now in range(0, 30, 2):
        settling.seen({"a.mp3": stamp(9, mtime=now)}, float(now))
        assert paths(settling, float(now)) == []
    assert paths(settling, 38.0) == ["a.mp3"]


def test_a_file_that_is_gone_and_back_settles_once_more() -> None:
    settling = Settling()
    settling.seen({"a.mp3": stamp(1)}, 0.0)
    settling.seen({}, 8.0)
    settling.seen({"a.mp3": stamp(1)}, 9.0)
    assert paths(settling, 18.0) == []
    assert paths(settling, 19.0) == ["a.mp3"]


def test_a_renamed_file_settles_under_its_new_name() -> None:
    settling = Settling()
    settling.seen({"b.mp3": stamp(1, mtime=-100)}, 0.0)
    assert paths(settling, 9.0) == []
    assert paths(settling, 10.0) == ["b.mp3"]


def test_a_done_file_is_left_alone_until_it_changes() -> None:
    settling = Settling()
    settling.seen({"a.mp3": stamp(1), "b.mp3": stamp(2)}, 0.0)
    assert settling.waiting == 2
    settling.done("a.mp3")
    assert paths(settling, 10.0) == ["b.mp3"]
    settling.seen({"a.mp3": stamp(1), "b.mp3": stamp(2)}, 12.0)
    assert paths(settling, 12.0) == ["b.mp3"]
    settling.seen({"a.mp3": stamp(3), "b.mp3": stamp(2)}, 14.0)
    settling.done("b.mp3")
    assert (paths(settling, 23.0), paths(settling, 24.0), settling.waiting) == ([], ["a.mp3"], 1)


def test_a_file_that_is_still_open_for_writing_settles_again() -> None:
    settling = Settling()
    settling.seen({"a.mp3": stamp(1)}, 0.0)
    settling.again("a.mp3", 10.0)
    assert (paths(settling, 19.0), paths(settling, 20.0)) == ([], ["a.mp3"])


def test_files_that_changed_first_come_first() -> None:
    settling = Settling()
    settling.seen({"new.mp3": stamp(1, mtime=9), "old.mp3": stamp(1, mtime=3), "later.mp3": stamp(1, mtime=5)}, 0.0)
    assert paths(settling, 10.0) == ["old.mp3", "later.mp3", "new.mp3"]
