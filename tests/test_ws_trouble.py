"""Failures of `/ws`: stages that fail or hang, clients that leave, callers without permission."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from pipeline.audio.clip import Clip, encode_wav
from tests.in_process import in_process
from tests.questions import sample, spoken
from tests.server_process import TURN_S, Service, ask, constants, error_code, let_in, receive, refused, serving, wav
from tests.servers import transcription
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import running
from tests.servers.speech import SpeechServer, speech_server
from tests.servers.transcription import TranscriptionServer

PATIENCE_S = 3.0
"""Timeout of each stage in seconds."""
HEARING_S = 6.0
"""Timeout of the recogniser; a disconnected client must free it sooner."""
SLOWLY = 1.0
"""Tokens a second, so that the whole reply takes longer than LEAVES_WITHIN_S."""
LEAVES_WITHIN_S = 10.0
"""Deadline for stopping the work of a disconnected client; an idle machine needs a hundredth of it."""
MAX_MESSAGE = 200_000
LONGEST_S = 5.0
SESSIONS = 2
MOST_WAITING = 1_000_000
"""Largest message in bytes in the tests of failing stages."""


@dataclass
class Remote:
    """A service whose three stages are servers controlled by the test."""

    server: Service
    hears: TranscriptionServer
    thinks: FakeOllama
    speaks: SpeechServer
    portal: BlockingPortal

    def well(self) -> None:
        """Make all stages work again."""
        self.hears.mode, self.speaks.mode = "verbose", "pcm"
        self.thinks.traps, self.thinks.tokens_per_second = Traps(), 0.0
        for event in (self.thinks.asked, self.thinks.disconnected, self.hears.asked, self.hears.left_early):
            event.clear()
        self.speaks.left_early.clear()

    def wait(self, event: asyncio.Event, seconds: float = TURN_S) -> None:
        """Wait for an event; raise TimeoutError if it does not happen."""

        async def happened() -> None:
            async with asyncio.timeout(seconds):
                await event.wait()

        self.portal.call(happened)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    thinks = FakeOllama(reply="I hear you well. It is a fine day. What else can I do for you?")
    with start_blocking_portal() as portal, ExitStack() as stack:
        hears = stack.enter_context(portal.wrap_async_context_manager(transcription.serve()))
        speaks = stack.enter_context(portal.wrap_async_context_manager(speech_server()))
        ollama = stack.enter_context(portal.wrap_async_context_manager(running(thinks.app())))
        server = stack.enter_context(
            in_process(
                tmp_path_factory.mktemp("remote"), MAX_MESSAGE_BYTES=str(MOST_WAITING),
                STT_ENGINE="openai", STT_OPENAI_URL=hears.url,
                LLM_ENGINE="ollama", LLAMA_ENDPOINT=ollama,
                TTS_ENGINE="openai", TTS_OPENAI_URL=speaks.url,
                **constants({
                    "pipeline.stt:TIMEOUT_S": HEARING_S,
                    "pipeline.llm.streaming:FIRST_TOKEN_TIMEOUT_S": PATIENCE_S,
                    "pipeline.llm.streaming:TOKEN_TIMEOUT_S": PATIENCE_S,
                    "pipeline.tts:TIMEOUT_S": PATIENCE_S,
                }),
            )
        )  # fmt: skip
        yield Remote(server, hears, thinks, speaks, portal)


@pytest.fixture
def remote(stages: Remote) -> Remote:
    stages.well()
    return stages


def works(connection: ClientConnection, remote: Remote) -> None:
    """Repair the stages and check that a whole turn works."""
    remote.well()
    answer = ask(connection, sample("hello"))
    assert answer.transcription == transcription.TEXT.strip()
    assert answer.llama == remote.thinks.reply


def test_turn_works_through_three_servers(remote: Remote) -> None:
    with remote.server.connect("?system=Speak+like+a+pirate.") as connection:
        works(connection, remote)
        works(connection, remote)
    told = [(message["role"], message["content"]) for message in remote.thinks.requests[-1]["messages"]]
    assert told[0][0] == "system"
    assert told[0][1].startswith("Speak like a pirate.")
    assert told[1:] == [("user", "Hello there."), ("assistant", remote.thinks.reply), ("user", "Hello there.")]


@pytest.mark.parametrize(("language", "sentence"), [("pt-BR", "Não ouvi nada."), ("es", "No he oído nada.")])
def test_silence_gets_a_sentence_in_the_requested_language(remote: Remote, language: str, sentence: str) -> None:
    with remote.server.connect(f"?language={language}") as connection:
        answer = ask(connection, Clip(np.zeros(16_000, np.float32), 16_000))
    assert (answer.transcription, answer.llama) == ("", sentence)
    assert not remote.thinks.asked.is_set()


def test_waiting_messages_together_fit_the_limit_of_one(remote: Remote) -> None:
    """Few but large messages: they use memory that all callers share."""
    large = b"no sound" * (MOST_WAITING * 6 // 10 // 8)
    with remote.server.connect() as connection:
        remote.hears.mode = "silent"
        connection.send(sample("hello"))
        remote.wait(remote.hears.asked)
        for _ in range(2):
            connection.send(large)
        assert error_code(receive(connection)) == "overloaded"
        assert error_code(receive(connection)) == "timeout"
        assert error_code(receive(connection)) == "bad_audio", "the message that waited"
        works(connection, remote)


@pytest.mark.parametrize(("mode", "code"), [("error", "stt_failed"), ("garbage", "stt_failed"), ("silent", "timeout")])
def test_failed_recogniser_gives_an_error_and_the_next_turn_works(remote: Remote, mode: str, code: str) -> None:
    with remote.server.connect() as connection:
        remote.hears.mode = mode
        assert refused(connection, sample("hello")) == code
        works(connection, remote)


@pytest.mark.parametrize(
    ("traps", "code"),
    [
        (Traps(status=500, message="CUDA out of memory"), "llm_unavailable"),
        (Traps(status=404), "llm_unavailable"),
        (Traps(error_after=5), "llm_unavailable"),
        (Traps(cut_after=5), "llm_unavailable"),
        (Traps(garbage_after=3), "llm_unavailable"),
        (Traps(first_token_s=30), "timeout"),
        (Traps(stall_after=4), "timeout"),
    ],
)
def test_failed_language_model_gives_an_error_and_the_next_turn_works(remote: Remote, traps: Traps, code: str) -> None:
    with remote.server.connect() as connection:
        remote.thinks.traps = traps
        assert refused(connection, sample("hello")) == code
        works(connection, remote)


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("error", "tts_failed"),
        ("garbage", "tts_failed"),
        ("empty", "tts_failed"),
        ("broken", "tts_failed"),
        ("silent", "timeout"),
        ("stall", "timeout"),
    ],
)
def test_failed_voice_gives_the_text_and_then_an_error(remote: Remote, mode: str, code: str) -> None:
    with remote.server.connect() as connection:
        remote.speaks.mode = mode
        connection.send(sample("hello"))
        assert receive(connection) == {"transcription": "Hello there.", "llama": remote.thinks.reply}
        assert error_code(receive(connection)) == code
        works(connection, remote)


def test_internal_details_are_not_sent_to_the_client(remote: Remote) -> None:
    with remote.server.connect() as connection:
        remote.hears.mode = "error"
        connection.send(sample("hello"))
        message = receive(connection)["error"]["message"]
        assert "secret" not in message


def leave(connection: ClientConnection, *, politely: bool) -> None:
    """Close the connection, or drop it without a close, as a phone in a tunnel does."""
    if politely:
        connection.close()
    else:
        connection.socket.close()


@pytest.mark.parametrize("politely", [True, False])
def test_disconnecting_during_the_reply_stops_the_language_model(remote: Remote, politely: bool) -> None:
    remote.thinks.tokens_per_second = SLOWLY
    connection = remote.server.connect()
    connection.send(sample("hello"))
    remote.wait(remote.thinks.asked)
    leave(connection, politely=politely)
    remote.wait(remote.thinks.disconnected, LEAVES_WITHIN_S)


def test_disconnecting_during_transcription_stops_the_recogniser(remote: Remote) -> None:
    remote.hears.mode = "silent"
    connection = remote.server.connect()
    connection.send(sample("hello"))
    remote.wait(remote.hears.asked)
    connection.close()
    remote.wait(remote.hears.left_early, HEARING_S - 1)


def test_disconnecting_drops_all_waiting_messages(remote: Remote) -> None:
    remote.thinks.tokens_per_second = SLOWLY
    connection = remote.server.connect()
    for _ in range(4):
        connection.send(sample("hello"))
    remote.wait(remote.thinks.asked)
    before = len(remote.thinks.requests)
    connection.close()
    remote.wait(remote.thinks.disconnected, LEAVES_WITHIN_S)
    with remote.server.connect() as other:
        works(other, remote)
    assert len(remote.thinks.requests) == before + 1


def test_stopped_service_finishes_the_running_turn(remote: Remote, tmp_path: Path) -> None:
    settings = {"LLM_ENGINE": "ollama", "LLAMA_ENDPOINT": f"http://{ollama_host(remote)}"}
    with serving(tmp_path, STT_ENGINE="openai", STT_OPENAI_URL=remote.hears.url, **settings) as server:
        remote.thinks.tokens_per_second = 4.0
        connection = server.connect()
        connection.send(sample("hello"))
        remote.wait(remote.thinks.asked)
        server.end()
        assert json.loads(connection.recv(timeout=TURN_S))["llama"]
        assert wav(bytes(connection.recv(timeout=TURN_S))).seconds > 0.5  # type: ignore[arg-type]
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=TURN_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012  # service restart


def ollama_host(remote: Remote) -> str:
    """Return Ollama's host and port from `/health`."""
    engines = httpx.get(f"{remote.server.url}/health").json()["engines"]
    return str(next(engine["device"] for engine in engines if engine["engine"] == "ollama"))


# --- access ---


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    limits = {"MAX_MESSAGE_BYTES": MAX_MESSAGE, "MAX_AUDIO_SECONDS": LONGEST_S}
    slots = {"MAX_SESSIONS": SESSIONS, "CALLER_SHARE": 1}
    with in_process(
        tmp_path_factory.mktemp("guarded"),
        API_KEYS="first-key, second-key", ALLOWED_ORIGINS="https://example.org",
        **{name: str(value) for name, value in (limits | slots).items()},
    ) as server:  # fmt: skip
        yield server


def come_in(server: Service, key: str | None = "first-key", **options: Any) -> ClientConnection:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return server.connect(additional_headers=headers, **options)


def let_in_by_key(server: Service, key: str = "first-key", **options: Any) -> ClientConnection:
    """Connect, waiting until a slot is free if another connection has just closed."""
    return let_in(lambda: come_in(server, key, **options))


def turned_away(server: Service, key: str | None = "first-key", **options: Any) -> tuple[int, httpx.Headers]:
    """Return status and headers of the response to a rejected handshake."""
    with pytest.raises(InvalidStatus) as refusal:
        come_in(server, key, **options)
    response = refusal.value.response
    return response.status_code, httpx.Headers(list(response.headers.raw_items()))


def test_conversation_is_resumed_only_by_its_own_key(guarded: Service) -> None:
    def begun(key: str, query: str = "") -> tuple[ClientConnection, dict[str, Any]]:
        connection = let_in_by_key(guarded, key, query=f"?stream=1{query}")
        return connection, json.loads(connection.recv(timeout=TURN_S))

    talking, started = begun("first-key")
    with talking:
        talking.send(json.dumps({"type": "say", "text": "my name is alice"}))
        while isinstance(message := talking.recv(timeout=TURN_S), bytes) or "turn_completed" not in message:
            pass
        resume = f"&resume={started['resume']}"
        other, told = begun("second-key", resume)
        with other:
            assert (told["resumed"], told["history"]) == (False, [])
    other, told = begun("second-key", resume)
    with other:
        assert (told["resumed"], told["history"]) == (False, [])
    own, told = begun("first-key", resume)
    with own:
        assert told["resumed"] is True
        assert told["history"][0]["content"] == "my name is alice"


@pytest.mark.parametrize("key", [None, "", "wrong", "first-key,", "first-key, second-key"])
def test_connection_without_a_valid_key_is_rejected(guarded: Service, key: str | None) -> None:
    status, headers = turned_away(guarded, key)
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", [b"Bearer \xff\xfe", b"Bearer", b"Basic first-key", "Bearer ключ".encode(), b"\xe9"])
def test_malformed_key_is_rejected(guarded: Service, key: bytes) -> None:
    handshake = {
        "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    with httpx.Client() as client:
        headers = [*((name.encode(), value.encode()) for name, value in handshake.items()), (b"Authorization", key)]
        response = client.get(guarded.url + "/ws", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthorized"


def test_each_configured_key_is_accepted(guarded: Service) -> None:
    for key in ("first-key", "second-key"):
        with let_in_by_key(guarded, key) as connection:
            assert ask(connection, sample("hello")).transcription == "hello"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://example.org.evil"])
def test_foreign_origin_is_rejected(guarded: Service, origin: str) -> None:
    assert turned_away(guarded, origin=origin)[0] == 403


def test_own_and_allowed_origins_are_accepted(guarded: Service) -> None:
    for origin in (guarded.url, "https://example.org"):
        with let_in_by_key(guarded, origin=origin) as connection:
            assert error_code_of_text(connection) == "unsupported_message"


def error_code_of_text(connection: ClientConnection) -> str:
    return refused(connection, "hello")


def test_connections_over_the_limit_are_rejected_until_a_slot_is_free(guarded: Service) -> None:
    with let_in_by_key(guarded) as first:
        with let_in_by_key(guarded) as second:
            status, headers = turned_away(guarded)
            assert status == 503
            assert int(headers["retry-after"]) > 0
            assert [error_code_of_text(one) for one in (first, second)] == ["unsupported_message"] * 2
        with let_in_by_key(guarded) as third:
            assert error_code_of_text(third) == "unsupported_message"


def test_only_a_message_over_the_limit_closes_with_1009(guarded: Service) -> None:
    with let_in_by_key(guarded) as connection:
        assert refused(connection, b"x" * MAX_MESSAGE) == "bad_audio"
        connection.send(b"x" * (MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=TURN_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_close_reason_of_wide_characters_fits_into_its_frame(guarded: Service) -> None:
    with let_in_by_key(guarded, query="?voice=" + quote("é" * 60)) as connection:
        assert error_code(receive(connection)) == "unknown_voice"
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=TURN_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_long_recording_in_a_small_file_is_rejected(guarded: Service) -> None:
    with let_in_by_key(guarded) as connection:
        long = encode_wav(Clip(np.zeros(int(8_000 * (LONGEST_S + 1)), np.float32), 8_000))
        assert len(long) < MAX_MESSAGE
        assert refused(connection, long) == "audio_too_long"
        assert wav(encode_wav(spoken("hello"))).seconds < LONGEST_S
        assert ask(connection, sample("hello")).transcription == "hello"


def test_client_without_a_network_is_disconnected(tmp_path: Path) -> None:
    """The client does not respond to a ping, so that its slot is freed."""
    with in_process(tmp_path, MAX_SESSIONS="1", **constants({"server.http.uvicorn_protocols:PING_S": 0.5})) as started:
        host, port = urlsplit(started.url).hostname or "", urlsplit(started.url).port
        with socket.create_connection((host, port or 0), TURN_S) as silent:
            silent.sendall(
                b"GET /ws?stream=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            got = b""
            while part := silent.recv(65536):  # ends when the server closes
                got += part
        assert b"101 Switching Protocols" in got
        assert b"\x89" in got  # a ping
        with let_in(lambda: started.connect("?stream=1")) as there:
            assert json.loads(there.recv(TURN_S))["type"] == "session_started"
