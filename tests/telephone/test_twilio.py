"""Twilio's webhook and WebSocket: signatures, TwiML, and messages that are not Twilio's."""

import asyncio
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.audio.clip import Clip
from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.errors import error_response
from server.telephone.twilio.line import TwilioLine
from server.telephone.twilio.signature import check_signature, signature
from tests.in_process import in_process
from tests.server_process import Service, constants
from tests.telephone.conftest import Exchange
from tests.telephone.twilio import FORM, START, TOKEN, calling, connected, ring, signed

WRONG = "X-Twilio-Signature does not fit"


@pytest.fixture(scope="module")
def server(exchange: Exchange) -> Service:
    return exchange.service


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("off")) as service:
        yield service


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service behind a proxy."""
    settings = {"TWILIO_AUTH_TOKEN": TOKEN, "APP_URL": "https://parley.example/voice/"}
    with in_process(tmp_path_factory.mktemp("proxied"), **settings) as service:
        yield service


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Service]:
    """A service with short timeouts. They are those of the whole process, so of one test only."""
    waits = {"START_S": 0.3, "SILENT_S": 0.6}
    changed = constants({f"server.telephone.twilio.connection:{name}": value for name, value in waits.items()})
    with in_process(tmp_path, TWILIO_AUTH_TOKEN=TOKEN, **changed) as service:
        yield service


def test_the_signature_is_that_of_twilio_s_example() -> None:
    fields = [
        ("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234"), ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]  # fmt: skip
    signed = signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", fields)
    assert signed == b"RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_a_call_gets_twiml_that_opens_its_stream(server: Service) -> None:
    answer = ring(server.url, "?language=pt&voice=woman&system=Be%20%22brief%22%20%26%20kind.")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/xml")
    stream = ET.fromstring(answer.text).find("Connect/Stream")  # noqa: S314  # our own
    assert stream is not None
    assert stream.attrib == {"url": f"ws://127.0.0.1:{server.port}/twilio/media"}
    parameters = {one.attrib["name"]: one.attrib["value"] for one in stream}
    assert parameters == {"language": "pt", "voice": "woman", "system": 'Be "brief" & kind.'}


@pytest.mark.parametrize("query", ["?voice=missing", "?language=klingonese"])
def test_unusable_parameters_are_refused_when_the_call_comes(server: Service, query: str) -> None:
    answer = ring(server.url, query)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_requests_without_twilio_s_signature_are_refused(server: Service) -> None:
    url = f"{server.url}/twilio/voice"
    good = signed(url, FORM)["X-Twilio-Signature"]
    for data, sent in (
        (FORM, {}),
        (FORM, {"X-Twilio-Signature": ""}),
        (FORM, {"X-Twilio-Signature": good[:-1]}),
        (FORM, {"X-Twilio-Signature": "é".encode("latin-1")}),
        (FORM, signed(url, FORM, token=TOKEN[::-1])),
        (FORM, signed(f"{url}/", FORM)),
        (FORM, signed(f"{server.url}/twilio/media", FORM)),
        (FORM, {"X-Twilio-Signature": good, "Host": "elsewhere.example"}),
        (FORM, {"X-Twilio-Signature": good, "Host": "a:b"}),
        ({**FORM, "From": "+1"}, {"X-Twilio-Signature": good}),
        ({**FORM, "More": "1"}, {"X-Twilio-Signature": good}),
    ):
        answer = httpx.post(url, data=data, headers=sent)  # type: ignore[arg-type]
        assert answer.status_code == 403, sent
        assert answer.json()["error"]["code"] == "forbidden_signature"
        assert answer.json()["error"]["message"].startswith(WRONG)
    assert httpx.post(f"{url}?voice=woman", data=FORM, headers=signed(url, FORM)).status_code == 403
    assert httpx.post(url, content=b"a=1&" * 1000, headers=signed(url)).status_code == 400


async def test_streams_without_twilio_s_signature_are_refused(server: Service) -> None:
    target = f"ws://127.0.0.1:{server.port}/twilio/media"
    for headers in ({}, signed(target, token="x" * 32), signed(target + "?a=1"), signed(target, FORM)):
        with pytest.raises(InvalidStatus) as refused:
            async with connected(server.url, headers):
                pass
        assert refused.value.response.status_code == 403
        assert WRONG in refused.value.response.body.decode()


async def test_without_a_token_the_routes_are_off(off: Service) -> None:
    answer = ring(off.url)
    assert answer.status_code == 404
    assert "TWILIO_AUTH_TOKEN" in answer.json()["error"]["message"]
    with pytest.raises(InvalidStatus) as refused:
        async with connected(off.url):
            pass
    assert refused.value.response.status_code == 404
    assert b"TWILIO_AUTH_TOKEN" in refused.value.response.body


def test_behind_a_proxy_the_public_url_counts(proxied: Service) -> None:
    public = "https://parley.example/voice/twilio"
    for url in (f"{public}/voice", "https://parley.example:443/voice/twilio/voice"):
        answer = httpx.post(f"{proxied.url}/twilio/voice", data=FORM, headers=signed(url, FORM))
        assert answer.status_code == 200, url
        assert 'url="wss://parley.example/voice/twilio/media"' in answer.text
    assert ring(proxied.url).status_code == 403


async def test_behind_a_proxy_the_stream_has_the_public_url(proxied: Service) -> None:
    for url in ("wss://parley.example/voice/twilio/media", "wss://parley.example/voice/twilio/media/"):
        async with connected(proxied.url, signed(url)):
            pass


def test_the_url_of_the_request_counts_without_app_url() -> None:
    scope = {
        "type": "http", "method": "POST", "scheme": "https", "server": ("10.0.0.1", 8000), "path": "/twilio/voice",
        "query_string": b"a=1", "headers": [
            (b"host", b"parley.example"),
            (b"x-twilio-signature", signed("https://parley.example/twilio/voice?a=1")["X-Twilio-Signature"].encode()),
        ],
    }  # fmt: skip
    check_signature(Request(scope), Settings(twilio_auth_token=TOKEN))


async def test_when_all_lines_are_taken_the_caller_hears_a_busy_tone(exchange: Exchange, line: object) -> None:
    async with calling(exchange.service.url), calling(exchange.service.url):
        answer = ring(exchange.service.url)
        assert '<Reject reason="busy"/>' in answer.text
        with pytest.raises(InvalidStatus) as refused:
            async with connected(exchange.service.url):
                pass
        assert refused.value.response.status_code == 503


async def test_parameters_of_the_call_reach_the_conversation(exchange: Exchange, line: object) -> None:
    async with calling(exchange.service.url, system="Speak like a pirate.", unknown="1") as phone:
        await phone.press("1#")
        await exchange.told("user", "1")
    assert exchange.ollama.requests[-1]["messages"][0]["content"].startswith("Speak like a pirate.")


async def closed_after(server: Service, *messages: Any) -> tuple[int, str]:
    """Send messages; return the code and the reason of the close."""
    async with connected(server.url) as socket:
        for message in messages:
            await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(20):
                await socket.recv()
        return socket.close_code or 0, socket.close_reason or ""


def start(**changed: object) -> dict[str, Any]:
    return {**START, "start": {**START["start"], **changed}}


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ((b"\x00\x01",), "must be texts"),
        (("hello",), "not valid JSON"),
        (("[]",), "must be an object with an event"),
        (({"event": 1},), "must be an object with an event"),
        (({"event": "start"},), "must contain the object start"),
        ((start(mediaFormat={"encoding": "audio/x-l16", "sampleRate": 16000, "channels": 1}),), "must have the format"),
        ((start(mediaFormat=None),), "must have the format"),
        ((start(streamSid=7),), "streamSid of a message must be a string"),
        ((start(customParameters={"voice": "missing"}),), "missing"),
        ((START, {"event": "media"}), "must contain the object media"),
        ((START, {"event": "media", "media": {"payload": 1}}), "payload of a message must be a string"),
        ((START, {"event": "media", "media": {"payload": "é*"}}), "not base64"),
        ((START, {"event": "dtmf", "dtmf": []}), "must contain the object dtmf"),
        ((START, {"event": "mark", "mark": {}}), "name of a message must be a string"),
        ((START, {"event": "media", "media": {"payload": "A" * 70_000}}), "longer than 65536 characters"),
        ((START, '{"event":' + "[" * 60_000), "not valid JSON"),
    ],
)  # fmt: skip
async def test_a_message_that_is_not_twilio_s_ends_the_call(
    server: Service, exchange: Exchange, messages: Any, told: str
) -> None:
    code, reason = await closed_after(server, *messages)
    assert (code, told in reason) == (1003, True), reason
    await exchange.free()


async def test_unknown_events_keys_and_marks_are_ignored(exchange: Exchange, line: object) -> None:
    async with calling(exchange.service.url) as phone:
        await phone.tell("later", later={})
        await phone.tell("start", start=START["start"])
        await phone.tell("mark", mark={"name": "another"})
        await phone.press("xé")
        await phone.press("7#")
        await exchange.told("user", "7")
        assert exchange.said() == [("user", "7")]


async def test_a_half_open_stream_is_closed(impatient: Service) -> None:
    for messages in ((), (START,)):
        async with connected(impatient.url) as socket:
            for message in messages:
                await socket.send(json.dumps(message))
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(20):
                    await socket.recv()
            assert "idle" in (socket.close_reason or "")


def events(line: TwilioLine) -> list[str]:
    """Return the messages that wait: their events, and the names of marks."""
    waiting = [line.outbox._items.popleft() for _ in range(len(line.outbox._items))]
    return [str(one["mark"]["name"]) if one["event"] == "mark" else str(one["event"]) for one in waiting]  # type: ignore[call-overload, index]


async def test_marks_say_what_was_played() -> None:
    import numpy as np

    line, clip = TwilioLine("MZ1"), Clip(np.full(320, 0.1, np.float32), 8_000)
    line.begin()
    for _ in range(4):
        line.play(clip)
    assert events(line) == ["media", "1", "media", "2", "media", "3", "media", "4"]
    assert line.marked("2")
    assert line.played_ms == 80
    assert not line.marked("1")
    line.hold()
    assert events(line) == ["clear"]
    assert not line.marked("3")  # sent back because of `clear`
    line.resume()
    assert events(line) == ["media", "5", "media", "6"]
    assert line.marked("5")
    assert line.played_ms == 120
    line.cut()
    assert events(line) == ["clear"]
    line.hold()
    assert events(line) == []


def test_a_full_service_answers_a_call_with_the_busy_tone() -> None:
    """The same where it restarts, or the rate is exceeded: Twilio reads no JSON."""
    for path, expected in (("/twilio/voice", 200), ("/jobs", 503)):
        answer = error_response(
            Request({"type": "http", "method": "POST", "path": path, "headers": []}), Overloaded("full")
        )
        assert answer.status_code == expected
        assert (b'reason="busy"' in bytes(answer.body)) is (expected == 200)
