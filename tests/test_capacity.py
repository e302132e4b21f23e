"""The capacity calculator: its formulas, and that docs/scaling.md has its tables."""

import json
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from bench.capacity import (
    CALLER_BYTES,
    ENTRY_BYTES,
    FRAME_BYTES,
    LIMITS,
    Costs,
    carries,
    limits,
    main,
    markdown,
    need,
    servers_for,
    sizes,
    waiting_share,
)
from pipeline.settings import HOME, Settings
from server.access.budgets import Budgets
from server.sharing.places import Taken
from server.sharing.redis import _written

COSTS = Costs()


@pytest.mark.parametrize("table", [sizes, limits])
def test_the_page_has_the_tables_of_the_command(table: object) -> None:
    assert markdown(table(COSTS)) in (HOME / "docs" / "scaling.md").read_text("utf-8")  # type: ignore[operator]


@pytest.mark.parametrize(("servers", "load", "share"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 7.0, 0.2217), (3, 3.5, 1)])
def test_the_share_of_waiting_calls_is_erlangs(servers: int, load: float, share: float) -> None:
    """Known values: the load with one server, load²/(2 + load) with two, and one of the usual tables."""
    assert waiting_share(servers, load) == pytest.approx(share, abs=1e-4)


def test_servers_are_neither_too_busy_nor_too_few() -> None:
    # Short calls that may wait long: the utilisation decides. Long calls that may not: the wait does.
    assert servers_for(6.0, 0.01, utilisation=0.6, wait_s=10) == 10
    long_calls = servers_for(6.0, 10.0, utilisation=0.6, wait_s=0.1)
    assert long_calls > 10
    assert waiting_share(long_calls, 6.0) < 0.06 < waiting_share(long_calls - 1, 6.0)


def test_needs_grow_with_the_speakers_and_the_costs() -> None:
    steps = [need(10**power, COSTS) for power in range(6)]
    for less, more in pairwise(steps):
        for name in ("fronts", "stt", "tts", "gpus", "machines", "redis_commands", "redis_bytes", "network_bytes"):
            assert getattr(less, name) <= getattr(more, name), name
    assert need(1000, replace(COSTS, tts_s=0.1)).tts < need(1000, COSTS).tts
    on_gpus = need(1000, replace(COSTS, replicas_a_gpu=4))
    assert on_gpus.gpus > need(1000, COSTS).gpus
    assert on_gpus.machines < need(1000, COSTS).machines


def test_the_balancers_card_carries_users_and_replies_in_each_direction() -> None:
    """Count both directions: all that comes in from one side goes out to the other."""
    silent = replace(COSTS, down_bytes=0.0)
    one, other = (need(1000, costs).network_bytes / 1000 for costs in (COSTS, silent))
    assert other == COSTS.up_bytes + 2 * FRAME_BYTES
    assert one - other == pytest.approx(COSTS.down_bytes * 0.4)


@pytest.mark.parametrize(("options", "told"), [
    (["--speakers", "10", "0"], "--speakers: must be 1 or more"),
    (["--reply-s", "0"], "--reply-s: must be more than 0"),
])  # fmt: skip
def test_numbers_that_make_no_sense_are_an_error_message(
    options: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["capacity", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.part)
def test_a_limit_is_where_the_part_breaks(limit: object) -> None:
    most = carries(limit, COSTS)  # type: ignore[arg-type]
    assert limit.enough(need(most, COSTS), COSTS)  # type: ignore[attr-defined]
    assert not limit.enough(need(most + 1, COSTS), COSTS)  # type: ignore[attr-defined]


def test_assumptions_are_the_services_own() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert COSTS.max_sessions == settings.max_sessions
    kinds = Budgets(settings)._kinds

    def entry_bytes(callers: int) -> int:
        """Return the size of a process's entry with conversations of so many callers."""
        held = Taken(callers, {("key", f"a-customer-of-ours-{number:08}"): 1 for number in range(callers)})
        table = {kind: slots.here() for kind, slots in kinds.items()} | {"conversations": held}
        return len(json.dumps({"machine": "parley-7d9f6c5b8-x2x4k:1", "beat": 123456, "table": _written(table)}))

    assert entry_bytes(0) <= ENTRY_BYTES
    assert (entry_bytes(100) - entry_bytes(0)) / 100 == pytest.approx(CALLER_BYTES, rel=0.25)
