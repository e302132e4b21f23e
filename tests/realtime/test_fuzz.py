"""A session survives any client events and keeps its turns in order; `bench/realtime_fuzz.py` runs many more."""

import pytest

from tests.realtime.fuzz import session


@pytest.mark.parametrize("seed", range(8))
def test_a_session_survives_random_events(seed: int) -> None:
    told = session(seed, 120)
    assert told["error"]
    assert told["session.created"] == 1
