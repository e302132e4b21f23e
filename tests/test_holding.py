"""What messages that wait may take of the memory, and that it is given back."""

import subprocess
import sys
from contextlib import ExitStack

from server.access.callers import USE, Caller
from server.access.counted import Budget

ANNA, BEN = (Caller(name, USE) for name in ("anna", "ben"))
HERE = Caller("", USE, kind="anonymous")


def test_all_together_hold_no_more_than_the_budget_and_one_caller_half_of_it() -> None:
    budget = Budget(100)
    with ExitStack() as stack:
        first, second, other, here = (stack.enter_context(budget.share(who)) for who in (ANNA, ANNA, BEN, HERE))
        assert first.take(40)
        assert not second.take(20), "the same caller over another connection"
        assert second.take(10)
        assert other.take(40)
        assert not here.take(11)
        assert here.take(10)
        first.give_back(40)
        assert here.take(30)
        assert budget.held == 90
    assert budget.held == 0
    assert not budget._of, "nothing is remembered of who has gone"


def test_one_message_is_taken_however_large_it_is() -> None:
    budget = Budget(100)
    with budget.share(ANNA) as held, budget.share(BEN) as other:
        assert held.take(80)
        assert not held.take(1)
        assert not other.take(30)
        held.give_back(80)
        assert other.take(200)


FREED = """
import sys, psutil
from server.holding import return_large_blocks
return_large_blocks()
first = [bytearray(4_000_000)]
first.clear()  # glibc would keep what comes from now on
large = [bytearray(4_000_000 + 10_000 * number) for number in range(40)]
last = bytearray(100_000)  # behind them, and stays
before = psutil.Process().memory_info().rss
large.clear()
print((before - psutil.Process().memory_info().rss) // 1_000_000)
"""


def test_large_blocks_go_back_to_the_system_when_they_are_freed() -> None:
    told = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True).stdout
    assert int(told) > 120
