"""Slots for decoding are granted fairly by account, and one account cannot have all of them."""

import asyncio
from collections import deque

import pytest

from pipeline.audio.decode import decode, processes
from pipeline.audio.decode.processes import TURNS
from pipeline.audio.decode.slots import REMEMBERED, Slot, Slots
from pipeline.errors import Overloaded
from pipeline.workers.caller import calling
from tests.decode.bombs import BOMBS, written
from tests.waiting import eventually


def test_the_smallest_file_of_an_account_gets_the_next_slot() -> None:
    slots = Slots(1)
    first, large, gone, small = slots.ask(9), slots.ask(8), slots.ask(1), slots.ask(2)
    assert first.done()
    gone.cancel()
    slots.leave(first)
    assert small.done()
    assert not large.done()
    slots.leave(small)
    assert large.done()
    slots.leave(large)
    assert slots.ask(5).done()


def test_one_account_leaves_slots_to_others() -> None:
    slots = Slots(4, most_of_one=2)
    mallory = [slots.ask(1, "mallory") for _ in range(8)]
    assert [slot.done() for slot in mallory] == [True, True] + 6 * [False]
    anna = slots.ask(10**9, "anna")
    assert anna.done(), "large files, too"
    slots.leave(mallory[0])
    assert [slot.done() for slot in mallory[:4]] == [True, True, True, False], "one for one"


def test_callers_on_this_machine_may_have_all_slots() -> None:
    slots = Slots(4, most_of_one=2)
    assert all(slot.done() for slot in [slots.ask(1) for _ in range(4)])


def test_the_account_served_longest_ago_gets_the_next_slot() -> None:
    slots = Slots(1)
    running = slots.ask(1, "mallory")
    names = {slots.ask(size, name): name for name, size in (("mallory", 1), ("mallory", 2), ("anna", 9), ("ben", 8))}
    order = []
    while names:
        slots.leave(running)
        (running,) = (slot for slot in names if slot.done())
        order.append(names.pop(running))
    assert order == ["ben", "anna", "mallory", "mallory"]


@pytest.mark.parametrize("attackers", [1, 8, 32])
def test_a_wait_is_bounded_by_the_number_of_accounts(attackers: int) -> None:
    """Virtual time: each file takes one step. Attackers always have eight tiny files waiting, anna has a large one."""
    slots = Slots(2, most_of_one=1)
    running: deque[Slot] = deque(slots.ask(1, f"mallory {n}") for _ in range(8) for n in range(attackers))
    waits = []
    for _ in range(20):
        anna, steps = slots.ask(10**9, "anna"), 0
        while not anna.done():
            steps += 1
            for slot in [slot for slot in running if slot.done()]:
                running.remove(slot)
                running.append(slots.ask(1, slot.account))
                slots.leave(slot)
        waits.append(steps)
        slots.leave(anna)
    assert max(waits) <= -(-attackers // 2) + 1


def test_a_slot_given_up_is_granted_to_the_next() -> None:
    slots = Slots(1, most_of_one=1)
    held, waits, next_one = slots.ask(1, "anna"), slots.ask(1, "anna"), slots.ask(2, "anna")
    slots.give_up(waits)
    slots.give_up(held)
    assert next_one.done()
    slots.give_up(next_one)
    assert slots.ask(1, "anna").done()


def test_few_accounts_are_remembered() -> None:
    slots = Slots(1)
    for number in range(4 * REMEMBERED):
        slots.leave(slots.ask(1, f"address:{number}"))
    assert len(slots._granted) == REMEMBERED
    assert not slots._held


async def test_files_of_one_account_do_not_delay_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "WAIT_S", 0.2)
    make, count = BOMBS["flac"]
    with calling(account="key:mallory"):
        bombs = [asyncio.create_task(decode(make(count), max_seconds=10)) for _ in range(TURNS.slots._most_of_one)]
        await eventually(lambda: TURNS.slots._held["key:mallory"] == len(bombs))
        with pytest.raises(Overloaded):
            await decode(written("MP3"), max_seconds=10)
    with calling(account="key:anna"):
        assert (await decode(written("MP3"), max_seconds=10)).seconds == pytest.approx(0.2, abs=0.1)
    for bomb in bombs:
        bomb.cancel()
    await asyncio.wait(bombs)
    await eventually(lambda: not TURNS.slots._held)
