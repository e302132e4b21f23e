"""Slots for decoding are granted fairly by account, and one account cannot have all of them."""

import asyncio
from collections import deque

import pytest

from pipeline.audio.decode import decode, processes
from pipeline.audio.decode.places import REMEMBERED, Place, Slots
from pipeline.audio.decode.processes import TURNS
from pipeline.errors import Overloaded
from pipeline.workers.scheduler import calling
from tests.decode.bombs import BOMBS, written
from tests.waiting import eventually


def test_the_smallest_file_of_an_account_gets_the_next_slot() -> None:
    places = Slots(1)
    first, large, gone, small = places.ask(9), places.ask(8), places.ask(1), places.ask(2)
    assert first.done()
    gone.cancel()
    places.leave(first)
    assert small.done()
    assert not large.done()
    places.leave(small)
    assert large.done()
    places.leave(large)
    assert places.ask(5).done()


def test_one_account_leaves_slots_to_others() -> None:
    places = Slots(4, most_of_one=2)
    mallory = [places.ask(1, "mallory") for _ in range(8)]
    assert [place.done() for place in mallory] == [True, True] + 6 * [False]
    anna = places.ask(10**9, "anna")
    assert anna.done(), "large files, too"
    places.leave(mallory[0])
    assert [place.done() for place in mallory[:4]] == [True, True, True, False], "one for one"


def test_callers_on_this_machine_may_have_all_slots() -> None:
    places = Slots(4, most_of_one=2)
    assert all(place.done() for place in [places.ask(1) for _ in range(4)])


def test_the_account_served_longest_ago_gets_the_next_slot() -> None:
    places = Slots(1)
    running = places.ask(1, "mallory")
    names = {places.ask(size, name): name for name, size in (("mallory", 1), ("mallory", 2), ("anna", 9), ("ben", 8))}
    order = []
    while names:
        places.leave(running)
        (running,) = (place for place in names if place.done())
        order.append(names.pop(running))
    assert order == ["ben", "anna", "mallory", "mallory"]


@pytest.mark.parametrize("attackers", [1, 8, 32])
def test_a_wait_is_bounded_by_the_number_of_accounts(attackers: int) -> None:
    """Virtual time: each file takes one step. Attackers always have eight tiny files waiting, anna has a large one."""
    places = Slots(2, most_of_one=1)
    running: deque[Place] = deque(places.ask(1, f"mallory {n}") for _ in range(8) for n in range(attackers))
    waits = []
    for _ in range(20):
        anna, steps = places.ask(10**9, "anna"), 0
        while not anna.done():
            steps += 1
            for place in [place for place in running if place.done()]:
                running.remove(place)
                running.append(places.ask(1, place.account))
                places.leave(place)
        waits.append(steps)
        places.leave(anna)
    assert max(waits) <= -(-attackers // 2) + 1


def test_a_slot_given_up_is_granted_to_the_next() -> None:
    places = Slots(1, most_of_one=1)
    held, waits, next_one = places.ask(1, "anna"), places.ask(1, "anna"), places.ask(2, "anna")
    places.give_up(waits)
    places.give_up(held)
    assert next_one.done()
    places.give_up(next_one)
    assert places.ask(1, "anna").done()


def test_few_accounts_are_remembered() -> None:
    places = Slots(1)
    for number in range(4 * REMEMBERED):
        places.leave(places.ask(1, f"address:{number}"))
    assert len(places._granted) == REMEMBERED
    assert not places._held


async def test_files_of_one_account_do_not_delay_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "WAIT_S", 0.2)
    make, count = BOMBS["flac"]
    with calling(account="key:mallory"):
        bombs = [asyncio.create_task(decode(make(count), max_seconds=10)) for _ in range(TURNS.places._most_of_one)]
        await eventually(lambda: TURNS.places._held["key:mallory"] == len(bombs))
        with pytest.raises(Overloaded):
            await decode(written("MP3"), max_seconds=10)
    with calling(account="key:anna"):
        assert (await decode(written("MP3"), max_seconds=10)).seconds == pytest.approx(0.2, abs=0.1)
    for bomb in bombs:
        bomb.cancel()
    await asyncio.wait(bombs)
    await eventually(lambda: not TURNS.places._held)
