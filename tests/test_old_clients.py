"""Forms that existing clients send: repeated, empty and "None" values, old charsets, an empty body."""

import time
from collections.abc import Iterator

import httpx
import pytest

from server.http.multipart import DRAIN_S, _charset, disposition
from server.jobs.echo import FromUrl
from tests.in_process import in_process


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        in_process(tmp_path_factory.mktemp("clients")) as service,
        httpx.Client(base_url=service.url, timeout=60) as opened,
    ):
        yield opened


def post(client: httpx.Client, path: str, fields: list[tuple[str, bytes]], charset: str = "") -> httpx.Response:
    """Post a form with a file and these fields."""
    body = b""
    for name, value in [*fields, ('files"; filename="caf\xe9.wav', b"sound")]:
        body += b'--x\r\nContent-Disposition: form-data; name="' + name.encode("latin-1") + b'"\r\n\r\n'
        body += value + b"\r\n"
    kind = "multipart/form-data; boundary=x" + (f"; charset={charset}" if charset else "")
    return client.post(path, content=body + b"--x--\r\n", headers={"Content-Type": kind})


def test_last_value_of_a_repeated_job_field_counts(client: httpx.Client) -> None:
    fields = [
        ("session_id", b"one"),
        ("session_id", b""),
        ("session_id", b"two"),
        ("language", b"xx"),
        ("language", b"pt"),
    ]
    answer = post(client, "/jobs", fields)
    assert answer.status_code == 202, answer.text
    job = client.get(f"/jobs/{answer.json()['jobs'][0]['job_id']}").json()
    assert (job["session_id"], job["language"], job["filename"]) == ("two", "pt", "café.wav")


@pytest.mark.parametrize("value", [b"None", b"none", b"", b"YES"])
def test_none_is_the_default_of_a_boolean(client: httpx.Client, value: bytes) -> None:
    answer = post(client, "/jobs", [("words", value), ("translate", b"No")])
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("path", ["/jobs", "/transcribe/"])
def test_truncated_form_is_rejected_at_once(client: httpx.Client, path: str) -> None:
    """The body has arrived: nothing is left to wait for."""
    start = time.monotonic()
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post(path, content=b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_form")
    assert time.monotonic() - start < DRAIN_S


def test_empty_body_has_no_files(client: httpx.Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for path, code in (("/jobs", "no_files"), ("/api/v1/upload/file", "no_files"), ("/transcribe/", "bad_form")):
        answer = client.post(path, content=b"", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("charset", "sent", "read"),
    [
        ("", "é€".encode(), "é€"),
        ("", b"\xe9", "é"),
        ("windows-1252", b"\x80", "€"),
        ("Shift_JIS", "日本".encode("shift_jis"), "日本"),
        ("nonsense", b"\xe9", "é"),
        ("utf-7", b"+2AA-", "+2AA-"),
    ],
)
def test_fields_are_read_in_the_charset_of_the_form(client: httpx.Client, charset: str, sent: bytes, read: str) -> None:
    answer = post(client, "/v1/audio/transcriptions", [("model", sent), ('file"; filename="a.wav', b"sound")], charset)
    assert answer.status_code == 404
    assert f"{read!r}" in answer.json()["error"]["message"]


def test_slow_codecs_are_not_used() -> None:
    for name in (b"punycode", b"idna", b"unicode_escape", b"undefined", b"x\0y"):
        assert _charset(name) == "latin-1"
    assert disposition(b'form-data; name="a"; filename="\xfc.wav"') == ("a", "ü.wav")


def test_json_body_of_a_url_ignores_unknown_fields() -> None:
    assert FromUrl.model_validate({"url": "http://a/", "model": "large"}).model_id is None
    assert FromUrl.model_validate({"url": "http://a/", "model_id": "base"}).model_id == "base"
