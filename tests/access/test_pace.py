"""How fast one caller's WebSocket messages are read."""

from server.access.limits import BURST_BYTES, PACE_BYTES_PER_S, Pace

ANNA, BEN = ("key", "anna"), ("key", "ben")


def test_a_caller_above_the_pace_waits_and_others_do_not() -> None:
    now = 100.0
    pace = Pace(lambda: now)
    assert pace.sent(BURST_BYTES, ANNA) == 0
    assert pace.sent(PACE_BYTES_PER_S, ANNA) == 1.0
    assert pace.sent(PACE_BYTES_PER_S, BEN) == 0
    now += 1.0
    assert pace.sent(0, ANNA) == 0


def test_this_machines_own_callers_have_no_pace() -> None:
    assert Pace(lambda: 0.0).sent(100 * BURST_BYTES, None) == 0


def test_the_burst_is_available_again_after_a_pause() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    pace.sent(3 * BURST_BYTES, ANNA)
    now += 3 * BURST_BYTES / PACE_BYTES_PER_S
    assert pace.sent(BURST_BYTES, ANNA) == 0
