"""Whatever a client sends, its session lives on and its turns are in order; `bench/realtime_fuzz.py` runs many more."""

import pytest

from tests.realtime.fuzz import session


@pytest.mark.parametrize("seed", range(8))
def test_a_session_stands_whatever_is_sent(seed: int) -> None:
    told = session(seed, 120)
    assert told["error"]
    assert told["session.created"] == 1
