"""Turns at long work: fair between owners, and held until the work ends."""

import asyncio

import pytest

from jobs.result import FORMATS
from jobs.service import SLOW_FORMATS
from jobs.turns import Turns
from pipeline.errors import Overloaded


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_owner_has_one_turn_and_others_the_rest() -> None:
    places, go, begun = Turns(2, "edits"), asyncio.Event(), list[str]()

    async def work(owner: str) -> str:
        begun.append(owner)
        await go.wait()
        return owner

    owners = ["anna", "anna", "ben", "cleo"]
    tasks = [asyncio.create_task(places.run(owner, lambda owner=owner: work(owner))) for owner in owners]  # type: ignore[misc]
    await settled()
    assert begun == ["anna", "ben"]
    go.set()
    assert await asyncio.gather(*tasks) == owners


async def test_a_cancelled_caller_leaves_its_turn_when_the_work_ends() -> None:
    places, go, begun = Turns(1, "edits"), asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        begun.append(number)
        await go.wait()

    tasks = [asyncio.create_task(places.run("anna", lambda number=number: work(number))) for number in range(3)]  # type: ignore[misc]
    await settled()
    for task in tasks[:2]:
        task.cancel()
    await settled()
    assert (tasks[0].done(), begun) == (True, [0]), "the first goes on working; the second never begins"
    go.set()
    await tasks[2]
    assert begun == [0, 2]


async def test_too_many_of_one_owner_are_refused() -> None:
    places = Turns(2, "edits", most_of_one=1)
    async with places.one("anna"), places.one("ben"):
        with pytest.raises(Overloaded, match="Too many edits of yours"):
            async with places.one("anna"):
                pass
    async with places.one("anna"):
        pass


def test_all_formats_with_broken_lines_or_pages_take_turns() -> None:
    assert set(FORMATS) - set(SLOW_FORMATS) == {"json", "md"}
