"""A Wyoming connection reports errors on any input, continues where it can, and logs no traceback."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.server_process import ServerProcess, serving
from tests.servers.running import closed_port, wait_for_port
from tests.wyoming.fuzz import in_sync, out_of_sync

NO_WORDS = ["transcript", "transcript-stop"]
NO_REPLY = ["not-handled", "handled-stop"]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def port() -> int:
    return closed_port()


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("wyoming")
    with serving(folder, WYOMING_URI=f"tcp://127.0.0.1:{port}", MAX_AUDIO_SECONDS="30") as started:
        wait_for_port(port)
        yield started
        assert "Traceback" not in started.text
        assert "failed" not in started.text


async def answers(port: int, sent: bytes, last: str = "pong") -> list[dict[str, Any]]:
    """All received events, up to the last one or the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while line := await reader.readline():
            head = json.loads(line)
            data = json.loads(await reader.readexactly(head["data_length"])) if head.get("data_length") else {}
            await reader.readexactly(head.get("payload_length", 0))
            found.append({"type": head["type"], **data})
            if head["type"] == last and (last != "pong" or data.get("text") == "the end"):
                break
    writer.close()
    return found


@given(in_sync())
@settings(max_examples=100)
def test_after_a_well_framed_event_the_next_one_is_read(port: int, sent: bytes) -> None:
    told = asyncio.run(answers(port, sent + b'{"type": "ping", "data": {"text": "the end"}}\n'))
    assert told
    assert told[-1]["type"] == "pong", told
    for one in told:
        if one["type"] == "error":
            assert one["text"]
            assert one["code"]
    assert sum(one["type"] == "error" for one in told) <= 1


@given(out_of_sync())
@settings(max_examples=40)
def test_a_badly_framed_event_ends_the_connection_with_an_error(port: int, sent: bytes) -> None:
    told = asyncio.run(answers(port, sent + b'{"type": "ping", "data": {"text": "the end"}}\n'))
    assert [one["type"] for one in told] == ["error"]


@pytest.mark.parametrize(
    ("kind", "data", "field", "ends"),
    [
        ("audio-chunk", {"rate": "16000", "width": 2, "channels": 1}, "rate", NO_WORDS),
        ("audio-chunk", {"rate": 16000, "width": 2, "channels": None}, "channels", NO_WORDS),
        ("audio-chunk", {"rate": 16000, "width": True, "channels": 1}, "width", NO_WORDS),
        ("audio-chunk", {"rate": 16000.0, "width": 2, "channels": 1}, "rate", NO_WORDS),
        ("audio-chunk", {}, "rate", NO_WORDS),
        ("audio-start", {"rate": [], "width": 2, "channels": 1}, "rate", NO_WORDS),
        ("detect", {"names": "alexa"}, "names", ["not-detected"]),
        ("transcribe", {"language": 5}, "language", NO_WORDS),
        ("transcribe", {"transcript_names": "Ada"}, "transcript_names", NO_WORDS),
        ("transcribe", {"transcript_terms": [1, 2]}, "transcript_terms", NO_WORDS),
        ("synthesize", {"text": None}, "text", ["audio-stop"]),
        ("synthesize", {"text": "a", "voice": "man"}, "voice", ["audio-stop"]),
        ("synthesize", {"text": "a", "voice": {"name": {}}}, "voice", ["audio-stop"]),
        ("synthesize-start", {"voice": []}, "voice", ["audio-stop", "synthesize-stopped"]),
        ("synthesize-chunk", {"text": 7}, "text", []),
        ("transcript", {"text": ["a"]}, "text", NO_REPLY),
        ("transcript", {"text": "a", "context": "b"}, "context", NO_REPLY),
        ("transcript", {"text": "a", "language": 1}, "language", NO_REPLY),
        ("recognize", {"text": None}, "text", ["not-recognized"]),
        ("ping", {"text": {}}, "text", ["pong"]),
    ],
)
def test_a_field_of_the_wrong_type_is_one_error_that_names_it(
    port: int, kind: str, data: dict[str, Any], field: str, ends: list[str]
) -> None:
    sent = json.dumps({"type": kind, "data": data}).encode() + b"\n"
    if not ends or kind == "ping":
        sent += b'{"type": "ping", "data": {"text": "the end"}}\n'
        ends = [*ends, "pong"]
    told = asyncio.run(answers(port, sent, ends[-1]))
    assert [one["type"] for one in told] == ["error", *ends]
    assert told[0]["code"] == "bad_parameter"
    assert repr(field) in told[0]["text"]


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("synthesize", ["audio-stop"]),
        ("synthesize-start", ["audio-stop", "synthesize-stopped"]),
        ("transcribe", NO_WORDS),
        ("transcript", NO_REPLY),
        ("detect", ["not-detected"]),
        ("recognize", ["not-recognized"]),
        ("ping", ["pong"]),
    ],
)
@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"a":' * 40 + b"1" + b"}" * 40], ids=["not JSON", "a list", "deep"])
def test_data_that_cannot_be_read_ends_the_exchange_of_its_event(
    port: int, kind: str, ends: list[str], data: bytes
) -> None:
    sent = json.dumps({"type": kind, "data_length": len(data)}).encode() + b"\n" + data
    told = asyncio.run(answers(port, sent + b'{"type": "ping", "data": {"text": "the end"}}\n'))
    assert [one["type"] for one in told] == ["error", *ends, "pong"]


def test_a_program_of_the_wrong_type_ends_the_connection(port: int) -> None:
    """Like an unknown one: no event ends this exchange."""
    told = asyncio.run(answers(port, b'{"type": "select-program", "data": {"name": 1}}\n'))
    assert [(one["type"], one["code"]) for one in told] == [("error", "bad_parameter")]


def test_a_bad_chunk_of_text_ends_the_text_once(port: int) -> None:
    sent = [
        {"type": "synthesize-start"},
        {"type": "synthesize-chunk", "data": {"text": "Good morning. "}},
        {"type": "synthesize-chunk", "data": {"text": None}},
        {"type": "synthesize-chunk", "data": {"text": 8}},
        {"type": "synthesize", "data": {"text": "Good morning."}},
        {"type": "synthesize-stop"},
    ]
    told = asyncio.run(answers(port, b"".join(json.dumps(one).encode() + b"\n" for one in sent), "synthesize-stopped"))
    kinds = [one["type"] for one in told if one["type"] not in ("audio-start", "audio-chunk")]
    assert kinds == ["error", "audio-stop", "synthesize-stopped"]
    assert told[-3]["code"] == "bad_parameter"


def test_a_bad_chunk_ends_its_sound_once(port: int) -> None:
    chunk = {"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}, "payload_length": 2}
    bad = {"type": "audio-chunk", "data": {"rate": None, "width": 2, "channels": 1}, "payload_length": 2}
    sent = b"".join(json.dumps(one).encode() + b"\n\0\0" for one in (chunk, bad, bad, chunk))
    told = asyncio.run(answers(port, sent + b'{"type": "audio-stop"}\n', "transcript-stop"))
    assert [one["type"] for one in told] == ["error", *NO_WORDS]
    assert told[1]["text"] == ""


def test_a_reply_in_progress_ends_with_its_connection(port: int) -> None:
    """The reply once failed because the end of the connection had already been written."""
    asked = json.dumps({"type": "transcript", "data": {"text": "tell me a joke"}}).encode() + b"\n"
    spoken = json.dumps({"type": "synthesize", "data": {"text": "Good morning. " * 200}}).encode() + b"\n"
    for _ in range(8):
        for sent in (asked, spoken):
            told = asyncio.run(answers(port, sent + b"[]\n"))
            assert told[-1]["code"] == "unsupported_message"
