"""Calls over both transports, in real time: a user who asks, interrupts, coughs, presses keys and hangs up."""

import asyncio

import httpx
import numpy as np
import pytest

from pipeline.audio.clip import Clip
from tests.questions import spoken
from tests.telephone.conftest import LONG, SHORT, Exchange
from tests.telephone.phone import FRAME_S, Phone
from tests.waiting import eventually

pytestmark = [pytest.mark.real_time, pytest.mark.parametrize("transport", ["twilio", "asterisk"])]
QUESTION = "what does the heron do"
CHARACTER_S = 0.06
"""Duration of a character in the scripted speech."""


async def speaking(exchange: Exchange, phone: Phone) -> int:
    """Ask for a long reply; return the frame in which it can be heard."""
    exchange.ollama.reply = LONG
    phone.say(spoken(QUESTION))
    await eventually(lambda: phone.loud_s())
    return len(phone.heard)


async def test_a_question_is_answered(exchange: Exchange, line: object, transport: str) -> None:
    async with exchange.calling(transport) as phone:
        phone.say(spoken(QUESTION))
        await phone.answered()
        assert phone.loud_s() == pytest.approx(len(SHORT) * CHARACTER_S, abs=0.3)
        assert exchange.said() == [("user", QUESTION)]
        phone.say(spoken(QUESTION))
        conversation = await exchange.told("assistant", SHORT)
        assert conversation == [("user", QUESTION), ("assistant", SHORT), ("user", QUESTION)]


async def test_speech_silences_the_reply_which_keeps_what_was_heard(
    exchange: Exchange, line: object, transport: str
) -> None:
    async with exchange.calling(transport) as phone:
        await speaking(exchange, phone)
        await asyncio.sleep(2.0)
        exchange.ollama.reply = SHORT
        phone.say(spoken(QUESTION))
        begun = len(phone.heard)
        await eventually(lambda: len(phone.heard) >= begun + 50)
        assert phone.loud_s(begun) < 0.6
        heard_s = phone.loud_s()
        await eventually(lambda: len(exchange.said()) == 3)
        role, kept = exchange.said()[1]
        assert role == "assistant"
        assert kept.endswith(" …")
        assert LONG.startswith(kept.removesuffix(" …"))
        assert (len(kept) - 2) * CHARACTER_S == pytest.approx(heard_s, abs=0.6)


async def test_after_a_cough_the_reply_continues_without_loss(exchange: Exchange, line: object, transport: str) -> None:
    async with exchange.calling(transport) as phone:
        began = await speaking(exchange, phone)
        await asyncio.sleep(1.0)
        phone.say(Clip(spoken("oh").samples[4_000:6_400], 16_000))
        spoke = len(phone.heard)
        await eventually(lambda: phone.loud_s(-5) == 0)
        assert len(phone.heard) - spoke < 30
        await phone.answered(began)
        assert phone.loud_s() == pytest.approx(len(LONG) * CHARACTER_S, abs=0.4)


async def test_keys_stop_the_reply_and_are_a_message(exchange: Exchange, line: object, transport: str) -> None:
    async with exchange.calling(transport) as phone:
        await speaking(exchange, phone)
        await asyncio.sleep(0.5)
        await phone.press("12")  # type: ignore[attr-defined]
        await eventually(lambda: phone.loud_s(-5) == 0)
        await phone.press("34#")  # type: ignore[attr-defined]
        await exchange.told("user", "1234")
        exchange.ollama.reply = SHORT
        await phone.answered(len(phone.heard))
        await phone.press("*5")  # type: ignore[attr-defined]
        await exchange.told("user", "*5")
        assert ("user", "*") not in exchange.said()


async def test_keys_faster_than_a_telephone_sends_them_are_dropped(
    exchange: Exchange, line: object, transport: str
) -> None:
    """Each would be a turn, with a line in the log."""
    turns = exchange.service.text.count("live turn")
    async with exchange.calling(transport) as phone:
        await phone.press("#" * 2_000)  # type: ignore[attr-defined]
        phone.say(spoken(QUESTION))
        await eventually(lambda: any(QUESTION in text for _, text in exchange.said()))
        assert exchange.service.text.count("live turn") - turns < 400


async def test_hanging_up_ends_everything(exchange: Exchange, line: object, transport: str) -> None:
    exchange.ollama.tokens_per_second = 2.0
    try:
        async with exchange.calling(transport) as phone:
            await speaking(exchange, phone)
            exchange.ollama.disconnected.clear()
            await phone.hang_up()  # type: ignore[attr-defined]
            await eventually(phone.over.is_set)
            await exchange.free()
            await eventually(exchange.ollama.disconnected.is_set)
    finally:
        exchange.ollama.tokens_per_second = 0.0


async def test_a_lost_connection_ends_the_call(exchange: Exchange, line: object, transport: str) -> None:
    async with exchange.calling(transport) as phone:
        await speaking(exchange, phone)
        connection = phone.socket if transport == "twilio" else phone.writer  # type: ignore[attr-defined]
        connection.transport.abort()
        await exchange.free()


async def test_calls_take_the_slots_of_conversations(exchange: Exchange, line: object, transport: str) -> None:
    async with exchange.calling(transport) as first, exchange.calling(transport):
        await eventually(
            lambda: httpx.get(f"{exchange.service.url}/status").json()["sessions"] == {"open": 2, "most": 2}
        )
        if transport == "asterisk":
            async with exchange.calling(transport) as third:
                await eventually(third.over.is_set)
        first.say(spoken(QUESTION))
        await first.answered()


async def test_a_burst_after_a_stall_is_heard(exchange: Exchange, line: object, transport: str) -> None:
    """A network that stalls delivers the sound late and at once."""
    async with exchange.calling(transport) as phone:
        sound = np.pad(spoken(QUESTION).at(8_000).samples, (0, 16_000))
        for start in range(0, len(sound) - 160, 160):
            await phone.send(sound[start : start + 160])
        await phone.answered()
        assert exchange.said() == [("user", QUESTION)]


async def test_sound_arrives_in_real_time(exchange: Exchange, line: object, transport: str) -> None:
    async with exchange.calling(transport) as phone:
        began = await speaking(exchange, phone)
        loop = asyncio.get_running_loop()
        at = loop.time()
        await asyncio.sleep(2.0)
        assert (len(phone.heard) - began) * FRAME_S == pytest.approx(loop.time() - at, abs=0.2)
        assert phone.loud_s(began) == pytest.approx(loop.time() - at, abs=0.2)
