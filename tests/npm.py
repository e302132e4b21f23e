"""Packages from npm, for tests of clients in JavaScript."""

import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path, *packages: str) -> None:
    """Install these packages into `folder`. Skip the test without npm or its registry."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", ".", *packages]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=240)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"the npm packages {', '.join(packages)} are not available")
