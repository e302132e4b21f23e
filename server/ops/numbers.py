"""The state of the service in numbers: of this process, or of all fronts together (PROCESSES)."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry

from pipeline.telemetry.metrics import Ended, recent
from pipeline.workers.sharing import AskOthers, joined
from server.state import State

COLLECT_S = 2.0
"""Timeout for the numbers of the other fronts, in seconds."""
MAX_TURNS = 100


@dataclass(frozen=True, slots=True)
class Collect:
    """Request to the other fronts: their Numbers."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """State of one process, or of all."""

    sums: Mapping[str, float]
    turns: Sequence[Ended]
    """The last turns, the newest last."""


def of_process(state: State) -> Numbers:
    """Return the numbers of this process."""
    sums = {
        "processes": 1.0,
        "requests": state.draining.running,
        "held_bytes": state.access.budgets.memory.held,
        "tasks": len(asyncio.all_tasks()),
    }
    return Numbers(sums, list(recent))


async def of_service(state: State) -> Numbers:
    """Return the numbers of all fronts together, without those that do not respond in time."""
    own = of_process(state)
    if (link := joined()) is None:
        return own
    found = [own]
    with suppress(TimeoutError):
        async with asyncio.timeout(COLLECT_S):
            found += await link.ask(AskOthers(Collect()))
    sums = {name: sum(one.sums[name] for one in found) for name in own.sums}
    return Numbers(sums, sorted((turn for one in found for turn in one.turns), key=_at)[-MAX_TURNS:])


def answer(state: State) -> None:
    """Tell the other fronts the numbers of this one whenever they ask."""
    if (link := joined()) is not None:

        async def collect(_: Collect) -> Numbers:
            return of_process(state)

        link.answer(Collect, collect)


def _at(turn: Ended) -> float:
    return turn.at


def instruments() -> CollectorRegistry:
    """Return the instruments of this process, or the sums of those of all fronts, including ended ones."""
    if joined() is None:
        return REGISTRY
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
