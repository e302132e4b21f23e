"""The replicas of a model on Ray that get calls after one was lost, on virtual time."""

import asyncio
from dataclasses import dataclass, field

from pipeline.workers.on_ray.living import Living, doubt_all
from tests import virtual_time


@dataclass(eq=False)
class Replica:
    """Answers while it lives."""

    replica_id: str
    lives: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def get_queue_len(self, *, deadline_s: float) -> int:
        self.asked += 1
        await self.lives.wait()
        return 0


def two() -> tuple[Replica, Replica, dict[str, Replica]]:
    living, dead = Replica("living"), Replica("dead")
    living.lives.set()
    return living, dead, {"living": living, "dead": dead}


def test_calls_after_a_loss_go_to_replicas_that_answer() -> None:
    async def run() -> None:
        living, dead, there = two()
        record = Living(lambda: there)
        assert await record.among([dead, living]) == [dead, living]
        doubt_all()
        assert await record.among([dead, living]) == [living]
        await asyncio.sleep(10)
        assert await record.among([dead, living]) == [living]
        dead.lives.set()
        await asyncio.sleep(1)
        assert await record.among([dead, living]) == [dead, living]

    virtual_time.run(run())


def test_a_replica_that_has_just_answered_is_not_doubted() -> None:
    async def run() -> None:
        living, dead, there = two()
        record = Living(lambda: there)
        record.answered("living")
        record.lost("dead")
        assert await record.among([dead, living]) == [living]
        assert living.asked == 0
        await asyncio.sleep(5)
        record.doubt()
        await asyncio.sleep(0)
        assert living.asked == 1
        there.clear()
        await asyncio.sleep(1)  # not asked any longer

    virtual_time.run(run())


def test_if_none_answers_calls_are_tried_with_all() -> None:
    async def run() -> None:
        _, dead, _ = two()
        there = {"dead": dead}
        record = Living(lambda: there)
        record.lost("dead")
        began = asyncio.get_running_loop().time()
        assert await record.among([dead]) == [dead]
        assert 0 < asyncio.get_running_loop().time() - began <= 1
        there.clear()
        await asyncio.sleep(2)

    virtual_time.run(run())
