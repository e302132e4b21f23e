"""A service whose language model is a small chat server, with scripted speech engines, and two callers of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.in_process import with_llm
from tests.scripted import ScriptedSTT
from tests.server_process import Service
from tests.servers.chat import ChatTraps, FakeChat

REPLY = "I am a small model. I run here, and I like to talk to you. What else?"
ANNA, BEN = "anna-" + "a" * 40, "ben-" + "b" * 40
SPOKEN: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}


@dataclass
class Chats:
    """The service as a client sees it, and its engines."""

    service: Service
    llm: FakeChat
    stt: ScriptedSTT
    client: openai.OpenAI
    other: openai.OpenAI
    """A client with another key."""

    def ask(self, *messages: Any, **fields: Any) -> Any:
        """Send messages, or a question; return the completion or the stream of its chunks."""
        given = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages or ("Hello.",)]
        return self.client.chat.completions.create(**{"model": "gpt-audio", "messages": given, **fields})

    def asked(self, **fields: Any) -> dict[str, Any]:
        """Return the request that reaches the language model."""
        self.ask(**fields)
        return self.llm.requests[-1]

    def refused(self, *messages: Any, **fields: Any) -> openai.APIStatusError:
        """Return the error of a refused request."""
        with pytest.raises(openai.APIStatusError) as error:
            self.ask(*messages, **fields)
        return error.value


@contextmanager
def chatting(folder: Path, **settings: str) -> Iterator[Chats]:
    """Run the service and its chat server."""
    llm, stt = FakeChat(reply=REPLY), ScriptedSTT("what do you like", seconds=0.01)
    keys = f"anna:talk:{ANNA},ben:talk:{BEN}"
    with (
        with_llm(folder, llm, heard=stt, api_keys=keys, **settings) as service,
        client(service, ANNA) as anna,
        client(service, BEN) as ben,
    ):
        yield Chats(service, llm, stt, anna, ben)


def client(service: Service, key: str) -> openai.OpenAI:
    """Return a client that checks every response against its types."""
    return openai.OpenAI(
        base_url=f"{service.url}/v1", api_key=key, max_retries=0, timeout=60, _strict_response_validation=True
    )


@pytest.fixture(scope="package")
def running_chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chats]:
    with chatting(tmp_path_factory.mktemp("chats")) as chats:
        yield chats


@pytest.fixture
def chats(running_chats: Chats) -> Chats:
    """The service, with a chat server without faults."""
    llm = running_chats.llm
    llm.traps, llm.calls, llm.tokens_per_second, llm.reply = ChatTraps(), [], 0.0, REPLY
    return running_chats
