"""Times of a call, on virtual time: the real endpoints and the real voice activity detector."""

import asyncio

import numpy as np
import pytest

from bench.telephone import PATIENCE_S, ahead_ms, asked, interruptions_ms, quiet
from pipeline.audio.clip import Clip
from tests.questions import spoken
from tests.telephone import virtual
from tests.telephone.phone import Phone
from tests.waiting import eventually


@pytest.mark.parametrize("transport", ["twilio", "asterisk"])
def test_a_reply_is_silent_150_ms_after_an_interruption(transport: str) -> None:
    taken = interruptions_ms(transport, range(10))
    assert all(silent < 150 and silent - decided < 30 for decided, silent in taken), taken


@pytest.mark.parametrize("transport", ["twilio", "asterisk"])
def test_after_a_cough_the_reply_continues_at_full_level(transport: str) -> None:
    """Nothing of the fade before the pause is heard again."""

    async def script(phone: Phone) -> None:
        await asked(phone)
        await asyncio.sleep(1.0)
        phone.say(Clip(spoken("oh").samples[4_000:6_400], 16_000))
        await eventually(lambda: not phone.loud_s(-3), PATIENCE_S)
        held = len(phone.heard)
        await eventually(lambda: bool(phone.loud_s(held)), PATIENCE_S)
        await quiet(phone)
        level = np.abs(phone.sound(held).samples)
        loud = np.flatnonzero(level > 0.05)
        assert len(loud) > 8_000
        assert level[loud[0] : loud[-1]].min() > 0.08

    virtual.call(transport, script)


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
