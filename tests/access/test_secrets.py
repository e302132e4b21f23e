"""Secrets are in no log, error or response, whatever is logged and however a request fails."""

import json
import logging
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from commands.logs import Redacted
from commands.redaction import HIDDEN, Redaction, secrets_of
from pipeline.settings import Settings
from tests import forked
from tests.server_process import environment, serving

KEY = "parley_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
PLAIN = "correct-horse-battery-staple"
SECRET = "this-signs-tokens-and-is-nobodys-business"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (f"< authorization: Bearer {KEY}", "< authorization: …"),
        (f"headers={{'Authorization': 'Basic {PLAIN}', 'Host': 'x'}}", "headers={'Authorization': '…', 'Host': 'x'}"),
        (f'{{"x-api-key": "{PLAIN}", "a": 1}}', '{"x-api-key": "…", "a": 1}'),
        (f"protocols: parley, openai-insecure-api-key.{PLAIN}, x", "protocols: parley, openai-insecure-api-key.…, x"),
        (f"it sent bearer {PLAIN}.", "it sent bearer …"),
        (f"the key {KEY} is new", "the key parley_… is new"),
        ("postgresql://parley:pass-word@db:5432/x is away", "postgresql://parley:…@db:5432/x is away"),
        ("GET /ws?stream=1&token=abc.def&x=1", "GET /ws?stream=1&token=…&x=1"),
        ("ten keys, a token and 3:4 at http://host:80/x@y are fine", None),
        ("7 tokens: [1, 2]; turn=abc session=def", None),
    ],
)
def test_likely_secrets_are_hidden(line: str, left: str | None) -> None:
    assert Redaction()(line) == (line if left is None else left)


def test_configured_secrets_are_hidden_in_any_form() -> None:
    settings = Settings(
        api_keys=f"{PLAIN}, anna:talk:Überraschung,ben:talk:here:it:is",
        jwt_secret=SECRET,
        stt_openai_key="hunter2-again",
    )
    redaction = Redaction(secrets_of(settings))
    told = redaction(f"{PLAIN} Überraschung here:it:is {SECRET} hunter2-again sqlite:///parley.db")
    assert told == f"{HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} sqlite:///parley.db"


def test_secrets_in_tracebacks_are_hidden() -> None:
    formatter = Redacted(logging.Formatter("%(message)s"), Redaction([PLAIN]))
    try:
        raise ValueError(f"cannot use {PLAIN}")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", None, (ValueError, error, error.__traceback__))
    text = formatter.format(record)
    assert "Traceback" in text
    assert PLAIN not in text


@pytest.mark.parametrize("debug", ["false", "true"])
def test_a_running_service_logs_no_key(tmp_path: Path, debug: str) -> None:
    keys = f"anna:admin:{KEY},{PLAIN}"
    told: list[str] = []
    with serving(tmp_path, API_KEYS=keys, JWT_SECRET=SECRET, DEBUG_MODE=debug) as server:
        with httpx.Client(base_url=server.url) as client:
            good = {"Authorization": f"Bearer {KEY}"}
            token = client.post("/page-token", headers=good).json()["token"]
            for headers in (good, {"X-API-Key": PLAIN}, {"Authorization": f"Bearer {KEY}x"}):
                for method, path in (
                    ("GET", "/v1/models"), ("GET", f"/jobs?api_key={KEY}"), ("GET", "/health"), ("GET", "/nowhere"),
                    ("POST", "/jobs"), ("POST", "/v1/audio/speech"), ("GET", "/openapi.json"), ("PUT", "/ws"),
                ):  # fmt: skip
                    answer = client.request(method, path, headers=headers)
                    told.append(f"{answer.headers}{answer.text}")
        address = f"ws://127.0.0.1:{server.port}"
        for key in (KEY, token, PLAIN):
            protocols = ["parley", f"openai-insecure-api-key.{key}"]
            with connect(f"{address}/ws?stream=1&token={KEY}", subprotocols=protocols) as socket:  # type: ignore[arg-type]
                assert socket.subprotocol == "parley"
                socket.send(json.dumps({"type": "nothing"}))
                told += [str(socket.recv()), str(socket.recv()), str(socket.response and socket.response.headers)]
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{address}/v1/realtime", additional_headers={"Authorization": f"Bearer {KEY}x"})
        told.append(refused.value.response.body.decode())
    for secret in (KEY, PLAIN, SECRET, token):
        assert secret not in server.text
        assert secret not in "".join(told)
        assert secret[7:-1] not in server.text


def test_an_unusable_secret_is_not_shown(tmp_path: Path) -> None:
    for name, value in (("JWT_SECRET", "too-short-5ecret"), ("API_KEYS", "anna:tlak:a-5ecret")):
        ended = forked.run(folder=tmp_path, env=environment(**{name: value}))
        assert ended.returncode == 2
        assert name in ended.stderr
        assert "5ecret" not in ended.stderr + ended.stdout
