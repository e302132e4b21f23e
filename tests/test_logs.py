"""Logs of a running service: session and turn of a line, and what is never logged."""

import json
import logging
from pathlib import Path

import httpx

from commands.logs import Lines
from tests.questions import sample
from tests.server_process import ServerProcess, ask, serving
from tests.stt.recordings import TRAINED


def log_of(server: ServerProcess) -> list[str]:
    return [line for line in server.text.splitlines() if line[:1] in "{2"]


def test_json_lines_name_the_turn_and_the_session(tmp_path: Path) -> None:
    with (
        serving(tmp_path, **TRAINED, LOG_FORMAT="json") as server,
        server.connect("?system=a+secret+prompt") as connection,
    ):
        ask(connection, sample("what_is_two_plus_three"))
        httpx.get(f"{server.url}/voices?token=secret")
    lines = [json.loads(line) for line in server.text.splitlines() if line.startswith("{")]
    [turn] = [line for line in lines if line["message"].startswith("whole turn completed")]
    assert {"time", "level", "logger", "message", "session", "turn"} == set(turn)
    assert (turn["level"], turn["logger"]) == ("INFO", "pipeline.telemetry.metrics")
    assert turn["time"].endswith("+00:00")
    assert len(turn["turn"]) == len(turn["session"]) == 16
    assert "secret" not in server.text
    assert "plus" not in server.text.lower()
    assert "accepted]" not in server.text  # the access log, in debug mode only
    assert "connection open" not in server.text


def test_transcripts_and_replies_are_logged_in_debug_mode_only(tmp_path: Path) -> None:
    with (
        serving(tmp_path, **TRAINED, DEBUG_MODE="true") as server,
        server.connect("?system=a+secret+prompt") as connection,
    ):
        answer = ask(connection, sample("what_is_two_plus_three"))
    [heard] = [line for line in log_of(server) if "heard (en): what is two plus three" in line]
    [replied] = [line for line in log_of(server) if f"replied: {answer.llama}" in line]
    assert heard.rpartition("[")[2] == replied.rpartition("[")[2]
    assert "session=" in heard
    assert "turn=" in heard
    assert 'WebSocket /ws" [accepted]' in server.text
    assert "secret" not in server.text


def test_text_of_a_client_cannot_forge_a_log_line() -> None:
    said = "GET /x\n2026-11-20 12:00:00,000 INFO server: all is well \x1b[2J\x9b\u2028é\t."
    record = logging.LogRecord("server", logging.WARNING, "", 0, "%s", (said,), None)
    line = Lines().format(record)
    assert line.isprintable() or line.replace("\t", "").isprintable()
    assert "x\\n2026" in line
    assert line.endswith("é\t.")
