"""The memory budget of waiting messages, and its release."""

import subprocess
import sys
from contextlib import ExitStack

from server.access.callers import USE, Caller
from server.access.limits import Budget

ANNA, BEN = (Caller(name, USE) for name in ("anna", "ben"))
HERE = Caller("", USE, kind="anonymous")


def test_budget_limits_the_total_and_each_caller_to_half() -> None:
    budget = Budget(100)
    with ExitStack() as stack:
        first, second, other, here = (stack.enter_context(budget.share(caller)) for caller in (ANNA, ANNA, BEN, HERE))
        assert first.take(40)
        assert not second.take(20), "the same caller on another connection"
        assert second.take(10)
        assert other.take(40)
        assert not here.take(11)
        assert here.take(10)
        first.give_back(40)
        assert here.take(30)
        assert budget.held == 90
    assert budget.held == 0
    assert not budget._of, "callers without connections are forgotten"


def test_one_message_of_any_size_is_accepted() -> None:
    budget = Budget(100)
    with budget.share(ANNA) as held, budget.share(BEN) as other:
        assert held.take(80)
        assert not held.take(1)
        assert not other.take(30)
        held.give_back(80)
        assert other.take(200)


FREED = """
import sys, psutil
from server.http.message_memory import return_large_blocks
return_large_blocks()
first = [bytearray(4_000_000)]
first.clear()  # from now on, glibc would keep freed blocks
large = [bytearray(4_000_000 + 10_000 * number) for number in range(40)]
last = bytearray(100_000)  # allocated after them and kept
before = psutil.Process().memory_info().rss
large.clear()
print((before - psutil.Process().memory_info().rss) // 1_000_000)
"""


def test_freed_large_blocks_are_returned_to_the_system() -> None:
    told = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True).stdout
    assert int(told) > 120


TRIMMED = """
import asyncio, psutil
from server.http import message_memory
message_memory.TRIM_S = 0.05
blocks = [bytearray(50_000) for _ in range(4000)]
kept = blocks[::20]  # between those that are freed
last = bytearray(50_000)
before = psutil.Process().memory_info().rss
blocks.clear()

async def main():
    async with message_memory.small_blocks_returned():
        await asyncio.sleep(1)

asyncio.run(main())
print((before - psutil.Process().memory_info().rss) // 1_000_000)
"""


def test_freed_small_blocks_between_others_are_returned_to_the_system() -> None:
    told = subprocess.run([sys.executable, "-c", TRIMMED], capture_output=True, text=True, check=True).stdout
    assert int(told) > 150
