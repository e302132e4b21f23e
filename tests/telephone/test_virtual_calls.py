"""Times of a call, on virtual time: the real endpoints and the real voice activity detector."""

import asyncio

import pytest

from bench.telephone import ahead_ms, asked, interruption, quiet
from tests.telephone import virtual
from tests.telephone.phone import Phone


@pytest.mark.parametrize("transport", ["twilio", "asterisk"])
def test_a_reply_is_silent_150_ms_after_an_interruption(transport: str) -> None:
    taken: list[float] = []
    for number in (0, 1, 4, 5, 6):  # the others begin with a silent consonant
        virtual.call(transport, lambda phone, number=number: interruption(phone, number, taken))  # type: ignore[misc]
    assert sorted(taken)[2] < 150, taken


@pytest.mark.parametrize("transport", ["twilio", "asterisk"])
def test_a_long_call_does_not_drift(transport: str) -> None:
    async def script(phone: Phone) -> None:
        loop, replies = asyncio.get_running_loop(), list[tuple[float, float]]()
        while loop.time() < 60:
            delay_s = await asked(phone)
            await asyncio.sleep(1.5)
            replies.append((delay_s, ahead_ms(phone)))
            await quiet(phone)
        assert max(delay_s for delay_s, _ in replies) - min(delay_s for delay_s, _ in replies) <= 0.12
        assert abs(replies[-1][1] - replies[1][1]) <= 100

    virtual.call(transport, script)
