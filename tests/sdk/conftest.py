"""A service with scripted speech engines, whose language model is a small chat server."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.clips import recording
from tests.in_process import with_llm
from tests.scripted import ScriptedSTT
from tests.sdk.calls import HEARD, Things, reply
from tests.server_process import Service
from tests.servers.chat import FakeChat
from tests.strict_client import strict_client
from tests.webrtc.caller import offer


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sdk")
    heard, voices = ScriptedSTT(HEARD, seconds=0.01), str(folder / "voices")
    with with_llm(folder, FakeChat(reply_to=reply), heard=heard, voices_dir=voices, max_sessions="100") as service:
        yield service


@pytest.fixture(scope="package")
def things(service: Service) -> Iterator[Things]:
    with strict_client(service) as client:
        yield Things(client, recording(0)[0], recording(0, 1, 2)[0], asyncio.run(offer()))
