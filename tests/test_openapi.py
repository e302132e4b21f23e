"""The OpenAPI document, and what is true of every route in it."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clips import hearing, long_recording, recording
from tests.server_process import ServerProcess

OPEN = {"/", "/health", "/health/live", "/health/ready"}
"""Routes that need no key: they tell nothing but that the service is there and what it runs on."""
SIGNED = "/api/v1/webhooks/"
"""Routes below this are for callers who prove themselves by signatures."""


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("locked")
    with hearing(folder, API_KEYS="right", TMPDIR=str(temporary), MAX_FILE_SIZE="30000000") as running:
        yield running


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_but_health_asks_for_a_key(locked: ServerProcess) -> None:
    document = httpx.get(f"{locked.url}/openapi.json").json()
    seen = 0
    for path, method, operation in operations(document):
        if path in OPEN or path.startswith(SIGNED):
            assert "security" not in operation
            continue
        assert operation["security"] == [{"key": []}]
        answer = httpx.request(method, locked.url + re.sub(r"{[^}]*}", "x", path))
        assert answer.status_code == 401, f"{method} {path}"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        seen += 1
    assert seen > 8


def test_the_document_is_right_and_docs_show_it(locked: ServerProcess) -> None:
    document = httpx.get(f"{locked.url}/openapi.json").json()
    assert "swagger-ui" in httpx.get(f"{locked.url}/docs").text
    text = str(document)
    for found in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert found in document["components"]["schemas"], found
    ours = ("/v1/", "/asr", "/detect-language", "/transcribe/", "/api/v1/transcribe")
    names = []
    for path, file in (("/jobs", "files"), ("/api/v1/upload/file", "file")):
        operation = document["paths"][path]["post"]
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["required"] == [file], path
        assert {"language", "model_id", "session_id", "webhook_url"} <= set(form["properties"]), path
        assert {"400", "404", "413", "422"} <= set(operation["responses"]), path
    for path in ("/jobs/{job_id}/download", "/api/v1/transcription/{job_id}/download"):
        told = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert {kind.split(";")[0] for kind in told} >= {"text/plain", "application/json", "text/vtt"}, path
    for path, method, operation in operations(document):
        names.append(operation["operationId"])
        if path.startswith(ours) and not path.startswith("/api/v1/transcription"):
            assert operation["tags"], path
            assert operation["summary"], path
            assert "401" in operation["responses"], path
            assert "422" not in operation["responses"], path
            if method == "post" and path != "/v1/audio/speech":
                form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
                assert form["required"], path
                assert "$ref" not in str(form), path
    assert len(names) == len(set(names))


def test_uploads_leave_nothing_behind(locked: ServerProcess, temporary: Path) -> None:
    headers = {"Authorization": "Bearer right"}
    url = f"{locked.url}/v1/audio/transcriptions"
    data = {"model": "whisper-1", "language": "en"}
    assert httpx.post(url, files={"file": long_recording(1)}, data=data, headers=headers, timeout=60).status_code == 200
    assert httpx.post(url, files={"file": b"none" * 10**6}, data=data, headers=headers, timeout=60).status_code == 400
    assert httpx.post(url, files={"file": bytes(31_000_000)}, data=data, headers=headers, timeout=60).status_code == 413
    with socket.create_connection(("127.0.0.1", locked.port)) as half:
        half.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 20000000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + bytes(5_000_000)
        )
        time.sleep(0.5)
        assert not [path for path in temporary.rglob("*") if path.is_file()], "nameless while it arrives"
    time.sleep(0.5)
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert httpx.post(url, files={"file": recording(0)[0]}, data=data, headers=headers, timeout=60).status_code == 200
