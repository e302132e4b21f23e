"""A live conversation with the running service: `/ws?stream=1` as documented in docs/protocol.md."""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipeline.audio.clip import Clip, wav_header
from server.talk.live import MAX_TEXT_CHARS
from tests.in_process import in_process
from tests.live_client import ENDS, Live
from tests.questions import SUM, SUM_ANSWER, sample, spoken
from tests.server_process import TURN_S, ServerProcess, Service, constants, let_in

pytestmark = pytest.mark.real_time
SAYING = "The heron stands quite still. It waits for a small fish. Then it eats the fish."
"""Several clauses and a few seconds: long enough for pacing and for an interruption."""


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_events_of_a_spoken_turn_come_in_the_documented_order(server: ServerProcess, rate_hz: int) -> None:
    with Live(server, f"rate={rate_hz}&partial_ms=0") as live:
        live.speak(spoken(SUM), rate_hz=rate_hz)
        end = live.until(*ENDS)
    assert live.order == [
        "session_started", "user_speech_started", "user_speech_stopped", "turn_started", "transcript_final",
        "reply_delta", "speech_started", "speech_span", "sound", "turn_completed",
    ]  # fmt: skip
    assert live.of("transcript_final")[0] == {**live.of("transcript_final")[0], "text": SUM, "language": "en"}
    assert SUM_ANSWER in end["reply"]
    assert "".join(event["text"] for event in live.of("reply_delta")) == end["reply"]
    began, stopped = live.of("user_speech_started")[0]["at_ms"], live.of("user_speech_stopped")[0]["at_ms"]
    assert 150 < began < stopped
    assert stopped - began == pytest.approx(1000 * spoken(SUM).seconds - 500, abs=250)
    timings = end["timings_ms"]
    assert {"endpoint", "transcript", "first_token", "first_audio", "first_sound", "speech_done"} <= set(timings)
    assert timings["first_sound"] >= timings["endpoint"]


def test_audio_is_paced_in_whole_frames_with_spans_for_the_reply(server: ServerProcess) -> None:
    with Live(server) as live:
        began = time.monotonic()
        live.tell("say", text=f"repeat after me {SAYING}")
        start = live.until("speech_started")
        end = live.until(*ENDS)
        took_s = time.monotonic() - began
    frame = start["rate_hz"] * 40 // 1000 * 2
    assert {len(sound) for sound in live.sound[:-1]} == {frame}
    seconds = sum(map(len, live.sound)) / 2 / start["rate_hz"]
    assert took_s > seconds - 0.6  # sent in real time, at most a little ahead
    assert max(abs(np.frombuffer(b"".join(live.sound), "<i2").astype(int))) > 3000
    spans = [(span["start"], span["end"]) for span in live.of("speech_span")]
    assert spans == sorted(spans)
    assert (spans[0][0], spans[-1][1]) == (0, len(end["reply"].rstrip()))


@pytest.mark.parametrize("sizes", [0, 0xFFFFFFFF])
def test_wav_can_be_streamed_in_chunks_of_any_size(server: ServerProcess, sizes: int) -> None:
    clip = Clip.join([spoken(SUM), Clip(np.zeros(44_100 * 2, np.float32), 44_100)], 44_100)
    stereo = np.repeat(clip.samples[:, None], 2, axis=1).astype("<f4").tobytes()
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", sizes, b"WAVE", b"fmt ", 16, 3, 2, 44_100, 44_100 * 8, 8, 32, b"data", sizes,
    )  # fmt: skip
    with Live(server, "") as live:
        data = header + stereo
        live.connection.send(data[:1001])
        for start in range(1001, len(data), 9_999):  # never a whole sample
            live.connection.send(data[start : start + 9_999])
        end = live.until(*ENDS)
    assert SUM_ANSWER in end["reply"]
    assert "user_speech_started" in live.order


def test_whole_file_is_one_utterance_without_endpointing(server: ServerProcess) -> None:
    with Live(server, "") as live:
        live.connection.send(sample("what_is_two_plus_three"))
        assert "5" in live.until(*ENDS)["reply"]
        assert live.order[1:3] == ["turn_started", "transcript_final"]
        assert "user_speech_started" not in live.order
        live.connection.send(sample("hello"))
        assert live.until(*ENDS)["type"] == "turn_completed"


def test_push_to_talk_turns_begin_and_end_by_command(server: ServerProcess) -> None:
    with Live(server, "rate=16000&turn_detection=false&partial_ms=0") as live:
        live.speak(spoken("hello"))  # the key is not pressed
        live.tell("begin")
        live.speak(spoken(SUM), silence_s=3)
        live.tell("commit")
        assert SUM_ANSWER in live.until(*ENDS)["reply"]
        assert live.of("transcript_final")[0]["text"] == SUM
        live.tell("begin")
        live.speak(spoken("hello"))
        live.tell("clear")
        assert live.until("utterance_ignored")["reason"] == "cleared"
        live.tell("begin")
        live.speak(spoken("what is two plus two"))
        live.tell("commit")
        assert "4" in live.until(*ENDS)["reply"]


def test_commit_ends_the_utterance_without_silence(server: ServerProcess) -> None:
    with Live(server, "rate=16000&silence_ms=10000&max_silence_ms=30000") as live:
        live.speak(spoken(SUM), silence_s=0.3)
        live.until("user_speech_started")
        live.tell("commit")
        assert SUM_ANSWER in live.until(*ENDS)["reply"]


def test_interruption_reports_heard_text_and_played_corrects_it(server: ServerProcess) -> None:
    with Live(server) as live:
        live.tell("say", text="tell me a story")
        live.until("speech_started")
        while live.sound_ms < 3000:
            live.receive()
        live.tell("interrupt")
        end = live.until(*ENDS)
        assert end["type"] == "turn_interrupted"
        reply = "".join(event["text"] for event in live.of("reply_delta"))
        assert end["heard_text"]
        assert reply.startswith(end["heard_text"])
        assert len(end["heard_text"]) < len(reply)
        assert 1500 < end["heard_ms"] < live.sound_ms  # audio is sent a little ahead
        live.tell("played", ms=900)
        live.tell("say", text="hello")
        live.until("turn_completed")
        token = live.started["resume"]
    with Live(server, f"rate=16000&resume={token}") as live:
        told = [message["content"] for message in live.started["history"]]
        assert told[0] == "tell me a story"
        assert told[1].endswith(" …")
        assert end["heard_text"].startswith(told[1].removesuffix(" …"))
        assert len(told[1]) < len(end["heard_text"])
        assert told[2] == "hello"


def test_speech_interrupts_the_reply_and_begins_a_turn(server: ServerProcess) -> None:
    with Live(server) as live:
        live.tell("say", text="tell me a story")
        live.until("speech_started")
        while live.sound_ms < 1000:
            live.receive()
        live.speak(spoken(SUM))
        assert live.until(*ENDS)["type"] == "turn_interrupted"
        count = len(live.sound)
        live.until("turn_started")
        assert len(live.sound) == count
        assert SUM_ANSWER in live.until(*ENDS)["reply"]
        assert "speech_held" in live.order


def test_typed_message_stops_the_reply(server: ServerProcess) -> None:
    with Live(server) as live:
        live.tell("say", text="tell me a story")
        live.until("speech_started")
        live.tell("say", text="what is one plus one")
        assert live.until(*ENDS)["type"] == "turn_interrupted"
        assert "2" in live.until(*ENDS)["reply"]


def test_voice_language_and_options_change_with_the_next_turn(server: ServerProcess) -> None:
    with Live(server, "rate=16000&language=en") as live:
        assert live.started["options"]["interruptible"] is True
        live.tell("configure", voice="woman", language="", options={"interruptible": False, "silence_ms": 900})
        live.tell("say", text="que horas são")
        end = live.until(*ENDS)
        assert end["type"] == "turn_completed"
        assert re.fullmatch(r"(São|É) \d+h\d\d\.", end["reply"])
        live.tell("say", text=f"repita {SAYING}")
        live.until("speech_started")
        live.speak(spoken("stop stop stop stop stop"))
        assert live.until(*ENDS)["type"] == "turn_completed"
        assert "speech_held" not in live.order


BAD: list[tuple[str | bytes, str]] = [
    ("no json", "unsupported_message"),
    ("[]", "unsupported_message"),
    ("{}", "unsupported_message"),
    ('"type"', "unsupported_message"),
    ('{"type": "dance"}', "unsupported_message"),
    ('{"type": {"a": 1}}', "unsupported_message"),
    ("[" * 100_000, "unsupported_message"),
    ('{"type": "say"}', "bad_parameter"),
    ('{"type": "say", "text": "  "}', "bad_parameter"),
    ('{"type": "say", "text": 5}', "bad_parameter"),
    (json.dumps({"type": "say", "text": "a" * 8001}), "bad_parameter"),
    ('{"type": "played"}', "bad_parameter"),
    ('{"type": "played", "ms": -1}', "bad_parameter"),
    ('{"type": "played", "ms": true}', "bad_parameter"),
    ('{"type": "played", "ms": NaN}', "bad_parameter"),
    ('{"type": "commit"}', "no_audio"),
    ('{"type": "configure", "voice": "../../etc/passwd"}', "unknown_voice"),
    ('{"type": "configure", "language": "klingon"}', "unsupported_language"),
    ('{"type": "configure", "options": []}', "bad_parameter"),
    ('{"type": "configure", "options": {"colour": "red"}}', "bad_parameter"),
    ('{"type": "configure", "options": {"silence_ms": 1}}', "bad_parameter"),
    ('{"type": "configure", "options": {"silence_ms": "NaN"}}', "bad_parameter"),
    ('{"type": "configure", "options": {"interruptible": "perhaps"}}', "bad_parameter"),
    ('{"type": "configure", "options": {"speaker_lock": 5}}', "bad_parameter"),
    ('{"type": "configure", "voice": "woman", "options": {"lead_ms": 1e999}}', "bad_parameter"),
    (b"", "empty_message"),
    (b"this is not sound", "bad_audio"),
    (wav_header(16_000, 0)[:20], "bad_audio"),
    (wav_header(1, 100), "bad_audio"),
]


def test_invalid_messages_get_errors_and_the_conversation_continues(server: ServerProcess) -> None:
    with Live(server, "") as live:
        for message, code in BAD:
            live.connection.send(message)
            told = live.until("error")
            assert told["code"] == code, message[:60]
            assert told["message"].endswith(".")
        live.tell("say", text="what is one plus one")
        assert "2" in live.until(*ENDS)["reply"]
        assert live.order == [
            "session_started", "error", "turn_started", "transcript_final", "reply_delta", "speech_started",
            "speech_span", "sound", "turn_completed",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("rate=1", "bad_parameter"),
        ("rate=fast", "bad_parameter"),
        ("silence_ms=5", "bad_parameter"),
        ("colour=red", "bad_parameter"),
        ("voice=absent", "unknown_voice"),
        ("language=klingon", "unsupported_language"),
        (f"system={'a' * 8001}", "bad_parameter"),
    ],
)
def test_invalid_query_gets_an_error_before_the_close(server: ServerProcess, query: str, code: str) -> None:
    with server.connect(f"?stream=1&{query}") as connection:
        assert json.loads(connection.recv(timeout=TURN_S))["error"]["code"] == code
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=TURN_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_query_sets_the_options_of_the_conversation(server: ServerProcess) -> None:
    with Live(
        server, "rate=16000&silence_ms=700&interruptible=false&vad_threshold=0.6&voice=woman&language=EN-us"
    ) as live:
        options = live.started["options"]
        assert (options["silence_ms"], options["interruptible"], options["vad_threshold"]) == (700, False, 0.6)
        assert (live.started["voice"], live.started["language"], live.started["resumed"]) == ("woman", "en", False)
        assert live.started["history"] == []


def test_reconnecting_client_resumes_its_conversation_once(server: ServerProcess) -> None:
    with Live(server) as live:
        assert live.ask("my name is alice")["type"] == "turn_completed"
        first = live.started["resume"]
    with Live(server, f"rate=16000&resume={first}") as live:
        assert live.started["resumed"] is True
        assert [message["role"] for message in live.started["history"]] == ["user", "assistant"]
        second = live.started["resume"]
        assert second != first
        assert "Alice" in live.ask("what is my name")["reply"]
    with Live(server, f"rate=16000&resume={first}") as live:
        assert (live.started["resumed"], live.started["history"]) == (False, [])
    with Live(server, f"rate=16000&resume={second}") as live:
        assert len(live.started["history"]) == 4
    with Live(server, "rate=16000&resume=nonsense") as live:
        assert live.started["resumed"] is False
        assert "not told" in live.ask("what is my name")["reply"]


def test_resuming_takes_the_conversation_from_an_open_connection(
    server: ServerProcess,
) -> None:
    with Live(server) as old:
        old.ask("my name is alice")
        with Live(server, f"rate=16000&resume={old.started['resume']}") as new:
            assert new.started["resumed"] is True
            assert len(new.started["history"]) == 2
            assert old.until("session_ended")["code"] == "resumed_elsewhere"
            token = new.started["resume"]
    with Live(server, f"rate=16000&resume={token}") as again:
        assert len(again.started["history"]) == 2


def test_concurrent_conversations_do_not_mix(server: ServerProcess) -> None:
    names = ["alice", "peter", "alice", "peter"]
    for text in ("what is my name", *(f"my name is {name}" for name in names)):
        spoken(text)  # synthesised before, because eSpeak runs one utterance at a time

    def converse(name: str) -> str:
        with Live(server) as live:
            live.ask(f"my name is {name}")
            return str(live.ask("what is my name")["reply"])

    with ThreadPoolExecutor(len(names)) as pool:
        for name, reply in zip(names, pool.map(converse, names), strict=True):
            assert name.title() in reply


# --- a service with one slot and a short resume time ---


SOON = constants(
    {"server.app:RESUME_S": 1.0, "server.talk.live:RESUME_S": 1.0, "server.http.uvicorn_protocols:PING_S": None}
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # Without pings: the service must notice a lost client in another way.
    with in_process(tmp_path_factory.mktemp("small"), MAX_SESSIONS="1", **SOON) as running:
        yield running


def connected(server: Service, query: str, **options: Any) -> Live:
    """Open a conversation as soon as a slot is free."""
    return let_in(lambda: Live(server, query), **options)


def test_disconnecting_during_a_reply_frees_the_slot(small: Service) -> None:
    with connected(small, "rate=16000") as live:
        live.tell("say", text="tell me a story")
        live.until("speech_started")
        live.connection.socket.shutdown(socket.SHUT_RDWR)  # without a close frame
    with connected(small, "rate=16000") as live:
        live.tell("say", text="what is one plus one")
        assert "2" in live.until(*ENDS)["reply"]
    assert "Traceback" not in small.text


def test_resuming_too_late_begins_a_new_conversation(small: Service) -> None:
    with connected(small, "rate=16000") as live:
        live.tell("say", text="hello")
        live.until(*ENDS)
        token = live.started["resume"]
        assert live.started["resume_seconds"] == 1
    connected(small, "rate=16000").connection.close()  # a slot is free once the service has noticed the close
    time.sleep(1.2)
    with connected(small, f"rate=16000&resume={token}") as live:
        assert (live.started["resumed"], live.started["history"]) == (False, [])


def test_idle_client_is_disconnected(small: Service) -> None:
    with connected(small, "rate=16000&idle_timeout_s=1") as live:
        assert live.until("session_ended")["code"] == "idle_timeout"
        with pytest.raises(ConnectionClosed) as closed:
            live.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


def test_client_that_does_not_read_is_disconnected(small: Service) -> None:
    """The queue for a slow reader is bounded: its conversation ends and frees its slot."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", small.port))
    address = f"ws://127.0.0.1:{small.port}/ws?stream=1&rate=16000"
    connection = connect(address, sock=slow, max_queue=1, ping_interval=None, close_timeout=1)

    def flood() -> None:
        message = json.dumps({"type": "say", "text": "a" * MAX_TEXT_CHARS})
        with contextlib.suppress(ConnectionClosed, OSError):
            while True:
                connection.send(message)
                time.sleep(0.004)  # each is followed by an event with its transcript

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    with connected(small, "rate=16000", within_s=120) as live:
        live.tell("say", text="what is one plus one")
        assert "2" in live.until(*ENDS)["reply"]
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            connection.recv(timeout=TURN_S)
    flooding.join(TURN_S)
    # The reason comes last. A client that keeps sending can get a connection reset before it.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1013
