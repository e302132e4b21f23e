"""Installed packages are pinned by hash: requirements.lock matches pyproject.toml and constraints.txt."""

import re
import subprocess
import sys
import tomllib

import pytest

from deploy.locked import BASE, BUILD, LOCK, main, parse
from pipeline.settings import HOME

ENTRIES = parse(LOCK.read_text("utf-8"))
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOT_LOCKED = {"torch"}
"""Packages whose build depends on the machine."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_has_a_version_and_hashes() -> None:
    for entry in ENTRIES:
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+", entry.text), entry.name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry.text), entry.name
        assert entry.groups <= {BASE, BUILD, "cuda", *EXTRAS}


def test_locked_versions_match_the_constraints() -> None:
    pinned: dict[str, set[str]] = {}
    for line in (HOME / "constraints.txt").read_text("utf-8").splitlines():
        if found := re.match(r"([\w.-]+)==([^\s;]+)", line):
            pinned.setdefault(plain(found[1]), set()).add(found[2])
    locked: dict[str, set[str]] = {}
    for entry in ENTRIES:
        locked.setdefault(plain(entry.name), set()).add(re.split(r"[=\s]+", entry.text)[1])
    assert {name: versions for name, versions in locked.items() if name in pinned and versions != pinned[name]} == {}


@pytest.mark.parametrize("group", [BASE, *EXTRAS])
def test_each_group_has_the_packages_of_pyproject(group: str) -> None:
    wanted = {
        plain(re.split(r"[=\[]", one)[0]) for one in (PROJECT["dependencies"] if group == BASE else EXTRAS[group])
    }
    found = {plain(entry.name) for entry in parse(main([] if group == BASE else [group]))}
    assert wanted - found <= NOT_LOCKED


def test_script_prints_the_requested_packages() -> None:
    def printed(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, str(HOME / "deploy" / "locked.py"), *arguments], check=True, capture_output=True, text=True
        )
        return [entry.name for entry in parse(done.stdout)]

    assert printed("--only", BUILD) == ["setuptools"]
    assert printed("--package", "websockets") == ["websockets"]
    assert "pytest" not in printed()
    assert {"pytest", "redis", "fastapi", "resemblyzer"} <= set(printed("test,redis,speakers"))
    with pytest.raises(KeyError, match="nothing-like-it"):
        main(["nothing-like-it"])


def test_images_are_pinned_by_digest_and_actions_by_commit() -> None:
    compose = [(HOME / path).read_text("utf-8") for path in ("docker-compose.yml", "deploy/compose.yml")]
    images = re.findall(r"\$\{(?:BASE|\w+_IMAGE):-([^}]+)\}", "".join(compose))
    images += re.findall(r"^ARG BASE=(.*)$", (HOME / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert len(images) == 8
    assert len(set(images)) == 6  # the base and Ollama are named twice
    for image in images:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)
    for workflow in (HOME / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (.*)", workflow.read_text("utf-8")):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", action)
