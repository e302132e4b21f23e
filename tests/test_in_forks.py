"""Test files run in forks of the process that collected them (`pytest --forks`)."""

import subprocess
import sys
from pathlib import Path

from pipeline.settings import HOME

CONFTEST = """
import os
from pathlib import Path

import pytest
from tests.in_forks import InForks


def pytest_configure(config):
    config.pluginmanager.register(InForks(2, lambda item: item.path.name, begin=lambda: None))


@pytest.fixture(scope="session")
def process():
    Path(f"process-{os.getpid()}").touch()
    yield os.getpid()
    Path(f"process-{os.getpid()}-ended").touch()
"""
ONE = """
import os
import warnings

import pytest


def test_passes():
    warnings.warn("what the test warns of")


def test_fails():
    print("what the test printed")
    assert False


@pytest.mark.parametrize("number", range(3))
def test_ends_the_process(number):
    if number == 1:
        os._exit(3)
"""
OTHER = """
import os
from pathlib import Path


def test_has_a_process(process):
    pass


def test_is_in_the_same_process(process):
    assert process == os.getpid()
"""


def test_results_of_all_forks_are_reported(tmp_path: Path) -> None:
    for name, text in (("conftest", CONFTEST), ("test_one", ONE), ("test_other", OTHER), ("test_third", OTHER)):
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--durations=3", "-vv", "."],
        cwd=tmp_path, env={"PYTHONPATH": str(HOME)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = done.stdout
    assert done.returncode == 1, told
    assert "2 failed, 7 passed, 1 warning" in told
    assert "what the test warns of" in told
    assert "what the test printed" in told
    assert "The process of this test ended with the exit code 3." in told
    for passed in ("test_passes", "test_ends_the_process[2]"):
        assert f"PASSED test_one.py::{passed}" in told
    assert "slowest 3 durations" in told
    began = {path.name for path in tmp_path.glob("process-*")}
    assert began == {name for path in tmp_path.glob("process-*-ended") for name in (path.name, path.name[:-6])}
