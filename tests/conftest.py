"""Fixtures and settings shared by several test files."""

import gc
import importlib
import os
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests import forked
from tests.reach import starts_a_service
from tests.real_models import converted_llm, real_engines
from tests.server_process import CONSTANTS, NO_CERTIFICATES, ServerProcess, serving
from tests.stt.recordings import TRAINED

# What is imported stays: a garbage collection would find nothing in it.
gc.disable()

# Use the same examples in every run, without a deadline, because the machine can be busy. To search for others:
# `pytest --hypothesis-profile=default --hypothesis-seed=1`. A failing example is not shrunk, because shrinking takes up
# to five minutes for each failing test in every run; `--hypothesis-profile=shrinking` shrinks it.
ALIKE = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("shrinking", ALIKE)
settings.register_profile("alike", ALIKE, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target])
settings.load_profile("alike")

# No test downloads from the package index, except those of it.
os.environ.setdefault("MODEL_SOURCES", "hub")
# No test speaks TLS, and httpx would read 300 certificates for each client.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = NO_CERTIFICATES
for place, value in CONSTANTS.items():
    module, _, constant = place.partition(":")
    setattr(importlib.import_module(module), constant, value)
forked.fork_workers()

collect_ignore = ["homeassistant"]
"""Tests with an environment of their own: `make test-ha`."""

LONGEST = (
    "test_xtts.py", "test_whole_document.py", "test_talk.py", "test_crash.py", "test_calls.py", "test_starting.py",
    "test_live_ws.py", "test_real_service.py", "test_commands.py", "test_talks.py", "test_recording.py",
    "test_files.py", "test_draining.py", "test_procrastinate.py", "test_llm_forms.py", "test_kokoro_model.py",
    "test_ws.py", "test_server.py", "test_real_whisper.py", "test_fronts.py", "test_watcher.py",
    "test_local_llm.py", "test_openai_audio.py", "test_ws_trouble.py", "test_kokoro.py", "test_speakers.py",
    "test_real_calls.py", "test_workers.py", "test_slow_clients.py", "test_audiosocket.py", "test_transcribe.py",
    "test_sphinx.py", "test_linear_texts.py", "test_limits.py", "test_endpoints.py", "test_packets.py",
    "test_hints.py", "test_whisper_batch.py", "test_mcp.py", "test_bounds.py", "test_pace.py", "test_webhooks.py",
    "test_model_index.py", "test_processes.py", "test_noise_reduction.py", "test_budgets.py", "test_auto.py",
    "test_client_secrets.py", "test_hostile_models.py", "test_ollama.py", "test_wheel.py", "test_voiceprints.py",
    "test_openai_node.py", "test_kept_turns.py", "test_convert.py", "test_parakeet.py", "test_recognisers.py",
    "test_speaker_lock.py", "test_documents.py",
)  # fmt: skip
"""Files to start first, in this order, so that the other processes do not wait for one of them at the end."""
WITH_TORCH = ("tests/tts/test_xtts.py", "tests/tts/test_pocket.py", "tests/test_alignment.py")
"""Files that run one after the other in one process, because the import of PyTorch and its libraries takes seconds."""
BROWSER = Path(__file__).parent / "browser"
TEARDOWN_FAILED = pytest.StashKey[bool]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests in a browser, and those that `make test-fast` leaves out."""
    if item.path.is_relative_to(BROWSER):
        item.add_marker(pytest.mark.real_time)
    chosen_by_marker = item.config.option.markexpr  # else the marker is not needed, and it takes long to find
    if chosen_by_marker and isinstance(item, pytest.Function) and starts_a_service(item):
        item.add_marker(pytest.mark.service)


def pytest_collection_finish() -> None:
    """Keep garbage collections from searching what has been imported."""
    gc.enable()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let only tests on a real clock be retried, once (the report shows it), and start the longest files first."""
    for item in items:
        if item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.flaky(reruns=1, condition=partial(_may_be_retried, item)))
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a process of pytest whole files at a time, and all files WITH_TORCH to the same one."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return WITH_TORCH[0] if file in WITH_TORCH else file

    return Scheduling(config, log)


def _may_be_retried(item: pytest.Item) -> bool:
    return not item.stash.get(TEARDOWN_FAILED, False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Note a failed teardown: a retry would hide what it has found, such as an error in the log of a service."""
    try:
        return (yield)
    except BaseException:
        item.stash[TEARDOWN_FAILED] = True
        raise


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run the service for tests that do not change its state, with the small Whisper: PocketSphinx needs five times its
    CPU seconds for a turn."""
    with serving(tmp_path_factory.mktemp("server"), **TRAINED) as running:
        yield running


@pytest.fixture(scope="session")
def smollm(pytestconfig: pytest.Config) -> Path:
    """Return the folder of SmolLM2-135M for LOCAL_LLM."""
    assert pytestconfig.cache is not None
    return converted_llm(pytestconfig.cache)


@pytest.fixture(scope="session")
def real_service(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run the service with Whisper tiny.en, SmolLM2 and Kokoro."""
    with serving(tmp_path_factory.mktemp("real"), **real_engines(smollm, "kokoro")) as running:
        yield running
