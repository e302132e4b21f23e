"""Forms of old, careless and disconnecting clients, at every endpoint that accepts a form."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.multipart import disposition, fields_of
from server.parameters import MAX_KEYWORD_CHARS, MAX_KEYWORDS, as_list, from_json, list_of
from tests.access.calls import every_route
from tests.clips import hearing, recording
from tests.jobs.test_endpoints import done
from tests.server_process import Service

SAID = "what time is it"
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}
ENDPOINTS = {
    "/v1/audio/transcriptions": "file",
    "/v1/audio/translations": "file",
    "/asr": "audio_file",
    "/detect-language": "audio_file",
    "/api/v1/transcribe": "audio_file",
    "/transcribe/": "audio_file",
    "/jobs": "files",
    "/api/v1/upload/file": "file",
}
"""Endpoint → field name of its file."""


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("forms")) as running:
        yield running


@pytest.fixture(scope="module")
def wav() -> bytes:
    return recording(0)[0]


@pytest.fixture
def client(hears: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hears.url, timeout=60) as opened:
        yield opened


def part(disposition: str, data: bytes) -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"


def post(client: httpx.Client, path: str, body: bytes, **query: str) -> httpx.Response:
    return client.post(path, content=body, headers=HEADERS, params=query)


def text_of(client: httpx.Client, path: str, answer: httpx.Response) -> str:
    """Return the transcript from the response of any endpoint."""
    assert answer.status_code in (200, 202), answer.text
    if path == "/asr":
        return answer.text.strip()
    told = answer.json()
    if path in ("/jobs", "/api/v1/upload/file"):
        job_id = told["jobs"][0]["job_id"] if path == "/jobs" else told["job_id"]
        return str(done(client, job_id)["result"]["text"])
    return str(told.get("text") or told.get("transcription") or told.get("detected_language"))


@pytest.mark.parametrize("path", ENDPOINTS)
def test_part_with_only_an_extended_file_name_is_a_file(client: httpx.Client, wav: bytes, path: str) -> None:
    named = f"name=\"{ENDPOINTS[path]}\"; filename*=UTF-8''%C3%BCber%20uns.wav"
    heard = text_of(client, path, post(client, path, part(named, wav) + b"--x--\r\n"))
    assert heard == ("english" if path == "/detect-language" else SAID)


def test_job_takes_its_name_from_an_extended_file_name(client: httpx.Client, wav: bytes) -> None:
    body = part("name=files; filename*=utf-8'de'%C3%BCber%3B%20%22uns%22.wav", wav) + b"--x--\r\n"
    told = post(client, "/jobs", body).json()["jobs"][0]
    assert told["filename"] == 'über; "uns".wav'


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("cut", ["in the file", "after the file", "before the end", "in a header", "at once"])
def test_truncated_form_is_rejected(client: httpx.Client, wav: bytes, path: str, cut: str) -> None:
    whole = part(f'name="{ENDPOINTS[path]}"; filename="a.wav"', wav)
    body = {
        "in the file": whole[: len(whole) // 2],
        "after the file": whole.removesuffix(b"\r\n"),
        "before the end": whole + b"--x",
        "in a header": whole + b"--x\r\nContent-Disp",
        "at once": b"--x\r\n",
    }[cut]
    answer = post(client, path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_form")
    assert "before its final boundary" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")],
        [("timestamp_granularities", "word"), ("timestamp_granularities", "segment")],
        [("timestamp_granularities[0]", "word"), ("timestamp_granularities[1]", "segment")],
        [("timestamp_granularities[1]", "word"), ("timestamp_granularities[0]", "segment")],
        [("timestamp_granularities[]", "word"), ("timestamp_granularities", "segment")],
        [("timestamp_granularities", "word"), ("timestamp_granularities[]", "segment")],
        [("timestamp_granularities", '["word", "segment"]')],
        [("timestamp_granularities[]", '["word", "segment"]')],
        [("timestamp_granularities[0]", '["word"]'), ("timestamp_granularities[1]", "segment")],
    ],
)
def test_list_fields_are_accepted_in_all_forms(client: httpx.Client, wav: bytes, fields: list[tuple[str, str]]) -> None:
    body = part('name="file"; filename="a.wav"', wav) + part('name="response_format"', b"verbose_json")
    for name, value in fields:
        body += part(f'name="{name}"', value.encode())
    answer = post(client, "/v1/audio/transcriptions", body + b"--x--\r\n")
    assert answer.status_code == 200, answer.text
    assert [one["word"] for one in answer.json()["words"]] == SAID.split()
    assert answer.json()["segments"]


@pytest.mark.parametrize("name", ["timestamp_granularities[0]", "timestamp_granularities", "timestamp_granularities[]"])
def test_list_of_one_value_is_accepted(client: httpx.Client, wav: bytes, name: str) -> None:
    body = part('name="file"; filename="a.wav"', wav) + part('name="response_format"', b"verbose_json")
    answer = post(client, "/v1/audio/transcriptions", body + part(f'name="{name}"', b"word") + b"--x--\r\n")
    assert "segments" not in answer.json()
    assert len(answer.json()["words"]) == len(SAID.split())


@pytest.mark.parametrize("name", ["include[]", "include", "include[0]"])
@pytest.mark.parametrize("value", ["logprobs", '["logprobs"]'])
def test_include_field_is_accepted_in_all_forms(client: httpx.Client, wav: bytes, name: str, value: str) -> None:
    body = part('name="file"; filename="a.wav"', wav) + part(f'name="{name}"', value.encode())
    assert post(client, "/v1/audio/transcriptions", body + b"--x--\r\n").json()["logprobs"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("timestamp_granularities[0]", "letter")], "timestamp_granularities"),
        ([("timestamp_granularities", '["word", 7]')], "timestamp_granularities"),
        ([("known_speaker_names", '["a", "b", "c", "d", "e"]')], "known_speaker_names"),
        ([("known_speaker_names[]", " ")], "known_speaker_names"),
        ([("chunking_strategy", "[" * 100_000)], "chunking_strategy"),
        ([("timestamp_granularities[x]", "word")], "timestamp_granularities"),
    ],
)
def test_error_names_the_wrong_list_field(
    client: httpx.Client, wav: bytes, fields: list[tuple[str, str]], param: str
) -> None:
    body = part('name="file"; filename="a.wav"', wav)
    for name, value in fields:
        body += part(f'name="{name}"', value.encode())
    answer = post(client, "/v1/audio/transcriptions", body + b"--x--\r\n")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/audio/transcriptions", "include[]"),
        ("/v1/audio/transcriptions", "timestamp_granularities[]"),
        ("/v1/audio/transcriptions", "keywords[]"),
        ("/v1/audio/transcriptions", "known_speaker_references[]"),
        ("/v1/audio/transcriptions", "chunking_strategy"),
        ("/jobs", "keywords"),
        ("/jobs", "languages"),
    ],
)
def test_huge_list_is_refused_before_it_is_parsed(client: httpx.Client, path: str, name: str) -> None:
    body = part(f'name="{ENDPOINTS[path]}"; filename="a.wav"', b"x")
    body += part(f'name="{name}"', b"[" + b"[]," * 340_000 + b"[]]")
    answer = post(client, path, body + b"--x--\r\n")
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert name.partition("[")[0] in message
    # "'auto'": the field is still text.
    assert re.search(r"is longer than \d+ characters|contains more than \d+ brackets|'auto'", message), message
    assert len(answer.content) < 1000


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/jobs"])
@pytest.mark.parametrize("name", ["keywords[]", "language", "prompt"])
def test_text_field_of_more_than_a_megabyte_is_refused(client: httpx.Client, path: str, name: str) -> None:
    body = part(f'name="{ENDPOINTS[path]}"; filename="a.wav"', b"x") + part(f'name="{name}"', b"[]," * 500_000)
    answer = post(client, path, body + b"--x--\r\n")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_form")
    assert "has more than 1048576 bytes" in answer.json()["error"]["message"]


def test_field_with_a_recording_can_be_large(client: httpx.Client, wav: bytes) -> None:
    clip = "data:audio/wav;base64," + "A" * 2_000_000
    body = part('name="file"; filename="a.wav"', wav)
    body += part('name="known_speaker_references"', json.dumps([clip, clip]).encode())
    assert post(client, "/v1/audio/transcriptions", body + b"--x--\r\n").status_code == 200
    assert list_of(2**24)(json.dumps([clip, clip])) == [clip, clip]


def test_compressed_body_is_rejected_by_every_endpoint(client: httpx.Client) -> None:
    """The error gives the reason and does not complain about the bytes."""
    seen = 0
    for route in every_route():
        if route.method not in ("POST", "PUT", "PATCH"):
            continue
        for encoding in ("gzip", "br", "identity, zstd", "deflate"):
            answer = client.request(
                route.method,
                route.example,
                content=gzip.compress(json.dumps({"input": "x"}).encode()),
                headers={"Content-Encoding": encoding, "Content-Type": "application/json"},
            )
            assert answer.status_code == 415, route
            assert answer.json()["error"]["code"] == "unsupported_encoding"
            assert "compressed" in answer.json()["error"]["message"]
        seen += 1
    assert seen > 12


def test_identity_encoding_is_accepted(client: httpx.Client) -> None:
    wanted = {"input": "Hi.", "voice": "man", "response_format": "wav"}
    answer = client.post("/v1/audio/speech", json=wanted, headers={"Content-Encoding": "identity"})
    assert (answer.status_code, answer.content[:4]) == (200, b"RIFF")


@pytest.mark.parametrize("language", ["en", "eng", "en-US", "en_GB", "ENGLISH"])
def test_endpoints_accept_a_language_in_any_form(client: httpx.Client, wav: bytes, language: str) -> None:
    files = {"file": ("a.wav", wav)}
    told = client.post("/v1/audio/transcriptions", files=files, data={"language": language})
    assert told.json()["text"] == SAID
    assert client.post("/asr", files={"audio_file": wav}, params={"language": language}).text.strip() == SAID
    told = client.post("/transcribe/", files={"audio_file": wav}, data={"language": language})
    assert (told.json()["text"], told.json()["language"]) == (SAID, "en")
    job = client.post("/jobs", files={"files": wav}, data={"language": language}).json()["jobs"][0]
    assert done(client, job["job_id"])["language"] == "en"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b'form-data; name="file"; filename="a \\"b\\".wav"', ("file", 'a "b".wav')),
        (b'form-data; name="file"; filename="C:\\music\\a.wav"', ("file", "a.wav")),
        (b"form-data; name=file; filename=a.wav", ("file", "a.wav")),
        (b"form-data; NAME=file; FileName*=utf-8''%e2%82%ac.wav", ("file", "€.wav")),
        (b"form-data; name=file; filename*=ISO-8859-1'en'%A3.wav", ("file", "£.wav")),
        (b"form-data; name=file; filename*=\"UTF-8''a%20b.wav\"", ("file", "a b.wav")),
        (b"form-data; name=file; filename*=UTF-8''%FF", ("file", "\ufffd")),
        (b"form-data; name=file; filename*=a.wav", ("file", "a.wav")),
        (b"form-data; name=file; filename=\"plain.wav\"; filename*=UTF-8''other.wav", ("file", "plain.wav")),
        (b"form-data; name=file; filename=\"\"; filename*=UTF-8''other.wav", ("file", "other.wav")),
        (b"form-data; name=\"x; filename*=UTF-8''a.wav\"", ("x; filename*=UTF-8''a.wav", None)),
        ('form-data; name="file"; filename="ü.wav"'.encode(), ("file", "ü.wav")),
        (b"form-data", (None, None)),
        (b"", (None, None)),
    ],
)
def test_content_dispositions_are_parsed(header: bytes, found: tuple[Any, Any]) -> None:
    assert disposition(header) == found


@given(st.binary(max_size=60), st.text(alphabet=";\"\\=*' filenam-8%UTF", max_size=60))
def test_arbitrary_content_dispositions_do_not_raise(junk: bytes, text: str) -> None:
    for header in (junk, b"form-data" + text.encode(), b"form-data; name=x; filename*=" + junk):
        name, filename = disposition(header)
        assert name is None or isinstance(name, str)
        assert filename is None or isinstance(filename, str)


def test_field_with_and_without_brackets_is_one_list() -> None:
    assert fields_of([("a", "1"), ("a[]", "2"), ("a[]", "3"), ("b[]", "4")]) == {"a": ["1", "2", "3"], "b": ["4"]}


def test_too_deeply_nested_json_stays_text() -> None:
    deep = "[" * 100_000
    assert from_json(deep) == deep
    assert from_json('{"type": "auto"}') == {"type": "auto"}


def test_longest_list_of_keywords_is_parsed() -> None:
    for letter in ("\U0001f600", ","):
        words = [letter * MAX_KEYWORD_CHARS] * MAX_KEYWORDS
        assert as_list(json.dumps(words)) == words
    assert as_list("[laughs]") == ["[laughs]"]
