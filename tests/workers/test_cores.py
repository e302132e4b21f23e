"""The cores that the calls of all models share."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.workers.caller import Caller, Urgency
from pipeline.workers.cores import Cores
from pipeline.workers.scheduler import Scheduler
from tests import virtual_time
from tests.workers.test_scheduler import Call


class Machine:
    """Two models, of which hearing has two replicas, on this many cores. A call takes a tenth of a second."""

    def __init__(self, count: int = 2) -> None:
        cores = Cores(count)
        self.models = {
            "hear": Scheduler[Call]("hear", max_waiting=100, size=2, cores=cores),
            "speak": Scheduler[Call]("speak", max_waiting=100, cores=cores),
        }
        self.running: list[Call] = []
        self.served: Counter[str] = Counter()
        """Number of served calls of each account."""

    def put(self, model: str, account: str, session: str = "", urgency: Urgency = Urgency.NOW) -> Call:
        call = Call(model, caller=Caller(session, urgency, account))
        self.models[model].put(call)
        return call

    def at_once(self, account: str) -> int:
        """Number of running calls of an account."""
        return sum(call.caller.account == account for call in self.running)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        places = (("hear", 0), ("hear", 1), ("speak", 0))
        replicas = [asyncio.create_task(self._replica(name, number)) for name, number in places]
        await asyncio.sleep(0.01)
        try:
            yield
        finally:
            for task in replicas:
                task.cancel()
            await asyncio.wait(replicas)

    async def _replica(self, name: str, number: int) -> None:
        while True:
            calls = await self.models[name].take(replica=number)
            self.running += calls
            await asyncio.sleep(0.1)
            for call in calls:
                self.running.remove(call)
                self.served[call.caller.account] += 1
                call.served.set()
            self.models[name].finished(calls, 0.1)

    async def flood(self, account: str) -> None:
        """Keep all models busy with calls of an account, until cancelled."""

        async def one(model: str, session: str) -> None:
            while True:
                await self.put(model, account, session).served.wait()

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(one("hear", f"{account} hears {number}"))
                tasks.create_task(one("speak", f"{account} speaks {number}"))


def test_one_account_leaves_a_core_to_others_on_all_models() -> None:
    machine = Machine()

    async def run() -> None:
        async with machine.open():
            flood = asyncio.create_task(machine.flood("mallory"))
            await asyncio.sleep(5)
            alone = machine.served["mallory"]
            assert alone >= 140  # three calls at a time: it is alone
            for model in ("hear", "speak"):
                asked = [machine.put(model, "anna") for _ in range(5)]
                await asyncio.sleep(0.101)  # the flood's calls that ran already have ended
                while not all(call.served.is_set() for call in asked):
                    assert machine.at_once("mallory") == 1  # the other core is the flood's
                    await asyncio.sleep(0.03)
            flood.cancel()
            await asyncio.wait([flood])

    virtual_time.run(run())


def test_calls_start_when_the_other_account_has_ended() -> None:
    machine = Machine()

    async def run() -> None:
        async with machine.open():
            await machine.put("hear", "many", "1").served.wait()
            asked = machine.put("hear", "one")
            heard = machine.put("hear", "many", "1")
            await asyncio.sleep(0.05)
            spoken = machine.put("speak", "many", "2")
            await asyncio.sleep(0.01)
            assert machine.running == [asked, heard]
            await asked.served.wait()
            await asyncio.sleep(0.01)
            assert spoken in machine.running
            await spoken.served.wait()

    virtual_time.run(run())


@pytest.mark.parametrize(
    ("count", "session", "urgency"),
    [(2, "same", Urgency.NOW), (2, "other", Urgency.FILE), (4, "other", Urgency.NOW)],
    ids=["of one session", "of a file", "with a core to spare"],
)
def test_other_calls_are_not_held_back(count: int, session: str, urgency: Urgency) -> None:
    machine = Machine(count)

    async def run() -> None:
        async with machine.open():
            await machine.put("hear", "many", "same").served.wait()
            asked = machine.put("hear", "one")
            heard = machine.put("hear", "many", "same")
            spoken = machine.put("speak", "many", session, urgency)
            await asyncio.sleep(0.01)
            assert machine.running == [asked, heard, spoken]

    virtual_time.run(run())


def test_the_account_with_fewer_calls_is_not_held_back() -> None:
    """One of two accounts always goes on, even if both hold a model and wait for another one."""
    machine = Machine()

    async def run() -> None:
        async with machine.open():
            for _ in range(3):
                await machine.put("hear", "many").served.wait()
            await machine.put("hear", "few").served.wait()
            first = [machine.put("hear", account, "1") for account in ("many", "few")]
            await asyncio.sleep(0.01)
            more, less = (machine.put("speak", account, "2") for account in ("many", "few"))
            await asyncio.sleep(0.01)
            assert machine.running == [*first, less]
            await more.served.wait()

    virtual_time.run(run())


def test_models_take_turns_on_the_core_of_an_account() -> None:
    machine = Machine()

    async def run() -> None:
        async with machine.open():
            await machine.put("hear", "one").served.wait()
            flood = asyncio.create_task(machine.flood("mallory"))
            await asyncio.sleep(1)
            ran: list[Call] = []
            for _ in range(20):
                asked = machine.put("hear", "one")
                while not asked.served.is_set():
                    ran += [call for call in machine.running if call is not asked and call not in ran]
                    await asyncio.sleep(0.01)
            assert min(Counter(call.name for call in ran).values()) >= 8
            flood.cancel()
            await asyncio.wait([flood])

    virtual_time.run(run())


def test_a_cancelled_call_holds_nobody_back() -> None:
    machine = Machine()

    async def run() -> None:
        async with machine.open():
            for _ in range(3):
                await machine.put("hear", "many").served.wait()
            speaking, waiting = (machine.put("speak", "few") for _ in range(2))
            machine.models["speak"].remove(waiting)
            await speaking.served.wait()
            await asyncio.sleep(0.01)
            both = [machine.put("hear", "many", "1"), machine.put("speak", "many", "2")]
            await asyncio.sleep(0.01)
            assert machine.running == both

    virtual_time.run(run())
