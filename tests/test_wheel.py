"""The wheel: complete, and usable from any folder by the command `parley`."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.settings import HOME
from server import VERSION

PACKAGES = ("commands", "jobs", "pipeline", "server", "voices", "web")


def tracked(*folders: str) -> list[str]:
    """Return the files of the repository in these folders."""
    listed = subprocess.run(["git", "ls-files", *folders], cwd=HOME, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, because a build leaves files among them."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in [*tracked(*PACKAGES), "main.py", "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((HOME / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(target), "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=300)
    (built,) = target.iterdir()
    return built


def test_wheel_has_every_file_of_the_service(wheel: Path) -> None:
    assert wheel.name == f"parley-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {*tracked(*PACKAGES), "main.py"}


def test_command_works_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    options = ["-q", "--no-deps", "--no-compile", "--target", str(site)]
    install = [sys.executable, "-m", "pip", "install", *options, str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)

    def parley(*arguments: str) -> str:
        # The dependencies are those of the tests.
        env = {**os.environ, "PYTHONPATH": str(site)}
        command = [str(site / "bin" / "parley"), *arguments]
        return subprocess.run(
            command, cwd=here, env=env, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    assert parley("--version") == f"parley {VERSION}\n"
    assert {"man", "woman"} <= {voice["voice"] for voice in json.loads(parley("voices", "--json"))}
    assert list(here.iterdir()) == []
