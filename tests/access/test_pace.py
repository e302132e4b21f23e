"""How fast one caller's WebSocket messages are read."""

import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from server.access import limits
from server.access.limits import BURST_BYTES, PACE_BYTES_PER_S, Pace
from tests.in_process import in_process
from tests.server_process import let_in, refused

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


def test_a_paced_connection_is_answered_and_can_end_in_its_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BURST_BYTES", 1 << 14)
    monkeypatch.setattr(limits, "PACE_BYTES_PER_S", 1 << 17)
    with in_process(tmp_path, API_KEYS="key", MAX_SESSIONS="1", IDLE_TIMEOUT_S="3") as server:

        def come() -> ClientConnection:
            return server.connect(additional_headers={"Authorization": "Bearer key"})

        with let_in(come) as connection:
            start = time.monotonic()
            for _ in range(2):
                assert refused(connection, b"x" * (1 << 16)) == "bad_audio"
            assert time.monotonic() - start > 0.3, "the second message waited"
        with let_in(come) as connection:
            connection.send(b"x" * (1 << 16))
            connection.socket.close()  # unread while the pause lasts
        with let_in(come) as connection:
            assert refused(connection, b"x" * (1 << 16)) == "bad_audio"
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
