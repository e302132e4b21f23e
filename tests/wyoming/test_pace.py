"""How fast the Wyoming events of one address are read, on virtual time."""

import asyncio

import pytest
from wyoming.audio import AudioChunk
from wyoming.event import Eventable
from wyoming.info import Describe

from server.access.limits import Budget, DataPace, Share
from server.wyoming.wire import encoded, read_event
from tests import virtual_time

RATE_HZ = 16_000
HOUSE, STRANGER = ("address", "198.51.100.1"), ("address", "198.51.100.2")


def budget() -> Budget:
    made = Budget(10**9)
    made.bytes_pace = DataPace(asyncio.get_running_loop().time)
    made.sound_pace = DataPace(asyncio.get_running_loop().time)
    made.request_pace = DataPace(asyncio.get_running_loop().time)
    return made


def chunk(seconds: float) -> AudioChunk:
    return AudioChunk(RATE_HZ, 2, 1, bytes(2 * int(RATE_HZ * seconds)))


async def read(event: Eventable, times: int, held: Share) -> float:
    """Read an event so often; return the seconds that it takes."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for _ in range(times):
        reader = asyncio.StreamReader()
        reader.feed_data(encoded(event.event()))
        assert await read_event(reader, max_payload=1 << 20, held=held) is not None
    return loop.time() - start


@pytest.mark.parametrize("conversations", [0, 32])
def test_a_flood_of_questions_waits_and_others_do_not(conversations: int) -> None:
    """However many conversations the stranger has."""

    async def told() -> tuple[float, float]:
        made = budget()
        made.conversations[STRANGER] = conversations
        flood = asyncio.create_task(read(Describe(), 500, Share(made, STRANGER)))
        await asyncio.sleep(5)
        return await read(Describe(), 10, Share(made, HOUSE)), await flood

    other_s, flood_s = virtual_time.run(told())
    assert other_s == 0
    assert 9 < flood_s < 11


def test_a_recording_of_ten_minutes_is_read_in_seconds() -> None:
    async def told() -> float:
        return await read(chunk(0.064), int(600 / 0.064), Share(budget(), HOUSE))

    assert virtual_time.run(told()) < 10


def test_the_satellites_of_a_house_may_all_be_spoken_to_at_once() -> None:
    """Each with chunks of 10 ms, as Home Assistant sends them, from its one address."""
    satellites, seconds, chunk_s = 24, 8.0, 0.01

    async def told() -> list[float]:
        made, loop = budget(), asyncio.get_running_loop()

        async def spoken_to() -> float:
            held, worst = Share(made, HOUSE), 0.0
            for number in range(int(seconds / chunk_s)):
                await read(chunk(chunk_s), 1, held)
                await held.heard(chunk_s)
                worst = max(worst, loop.time() - number * chunk_s)
                await asyncio.sleep(max(0.0, (number + 1) * chunk_s - loop.time()))
            return worst

        return await asyncio.gather(*(spoken_to() for _ in range(satellites)))

    assert max(virtual_time.run(told())) < 0.1
