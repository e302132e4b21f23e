"""What tests of several files share."""

import os
from collections.abc import Iterator

import pytest

from tests.server_process import ServerProcess, serving

# The small Whisper of the tests was trained on one utterance at a time; tests of packing switch it on.
os.environ.setdefault("WHISPER_PACK", "false")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The service with its embedded engines; for tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running
