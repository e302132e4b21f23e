"""What tests of several files share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.server_process import PATIENT, ServerProcess, serving

# The same examples in every run, however long one takes on a busy machine. To look for others:
# `pytest --hypothesis-profile=default --hypothesis-seed=1`. A failing example is reported as it was found: making it
# smaller takes up to five minutes for each failing test, in every run; `--hypothesis-profile=shrinking` does it.
ALIKE = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("shrinking", ALIKE)
settings.register_profile("alike", ALIKE, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target])
settings.load_profile("alike")

# The small Whisper of the tests was trained on one utterance at a time; tests of packing switch it on.
os.environ.setdefault("WHISPER_PACK", "false")
# A busy machine is no model that hangs.
for limit in PATIENT:
    os.environ.setdefault(limit, PATIENT[limit])

LONGEST = (
    "test_draining.py", "test_live_ws.py", "test_crash.py", "test_procrastinate.py", "test_xtts.py", "test_workers.py",
    "test_commands.py", "test_openai_audio.py", "test_linear_texts.py", "test_full_disk.py", "test_budgets.py",
)  # fmt: skip
"""Files that are begun first: at the end everybody would wait for one of them."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What plays or records at the pace of a real clock has one more try, shown in the report; nothing else has."""
    for item in items:
        if item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The service with its embedded engines; for tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running
