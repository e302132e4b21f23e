"""Calls of a service in its own process, on real models: Whisper hears the caller, and another one hears the reply."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import jiwer
import pytest

from bench.wer_whisper import plain
from pipeline.audio.decode import decode_blocking
from tests.questions import SUM, spoken
from tests.real_models import real_whisper, recording, spoken_text
from tests.server_process import ServerProcess, serving
from tests.servers.ollama import FakeOllama
from tests.servers.running import closed_port, wait_for_port
from tests.stt.recordings import TRAINED
from tests.telephone import asterisk, twilio
from tests.telephone.phone import Phone
from tests.tts.hearing import heard
from tests.waiting import eventually

pytestmark = [pytest.mark.real_time, pytest.mark.parametrize("transport", ["twilio", "asterisk"])]


@dataclass
class Exchange:
    """A service and its port for Asterisk."""

    server: ServerProcess
    audiosocket: int

    @asynccontextmanager
    async def calling(self, transport: str) -> AsyncIterator[Phone]:
        """Hold a call."""
        calling = twilio.calling(self.server.url) if transport == "twilio" else asterisk.calling(self.audiosocket)
        async with calling as phone:
            yield phone


def settings(port: int, **more: str) -> dict[str, str]:
    return {"TWILIO_AUTH_TOKEN": twilio.TOKEN, "AUDIOSOCKET_ADDRESS": f"127.0.0.1:{port}", **more}


@pytest.fixture(scope="module")
def real(
    ollama: tuple[FakeOllama, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Exchange, FakeOllama]]:
    fake, address = ollama
    port = closed_port()
    chosen = settings(port, LLM_ENGINE="ollama", LLAMA_ENDPOINT=address, **real_whisper())
    with serving(tmp_path_factory.mktemp("real"), **chosen) as server:
        wait_for_port(port)
        yield Exchange(server, port), fake


async def test_real_speech_over_the_telephone_is_understood(real: tuple[Exchange, FakeOllama], transport: str) -> None:
    (exchange, ollama), name = real, "goforward"
    ollama.requests.clear()
    ollama.reply = "Good morning. What can I do for you today?"
    async with exchange.calling(transport) as phone:
        phone.say(decode_blocking(recording(name), max_seconds=30))
        await phone.answered(seconds=60)
    said = [one["content"] for one in ollama.requests[-1]["messages"] if one["role"] == "user"]
    assert plain(" ".join(said)) == plain(spoken_text(name))
    # On a busy machine the line can drop a packet within a word.
    assert jiwer.wer("good morning what can i do for you today", heard(phone.sound())) <= 1 / 9


async def test_a_stopping_service_ends_its_calls_after_the_reply(tmp_path: Path, transport: str) -> None:
    port = closed_port()
    with serving(tmp_path, **settings(port), **TRAINED) as server:
        wait_for_port(port)
        exchange = Exchange(server, port)
        async with exchange.calling(transport) as phone, exchange.calling(transport) as silent:
            phone.say(spoken(SUM))
            await eventually(lambda: phone.loud_s() > 0.1)
            server.process.send_signal(signal.SIGTERM)
            await eventually(silent.over.is_set)
            await eventually(phone.over.is_set)
            assert phone.loud_s() > 0.3
            if isinstance(phone, twilio.TwilioPhone):
                assert phone.closed == (1012, "The service is restarting; reconnect in a moment.")
        await asyncio.to_thread(server.process.wait, 60)
