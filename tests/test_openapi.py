"""The OpenAPI document and properties of every route in it."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from jobs.states import Status
from server.jobs.views import STATE_NAMES
from tests.access.calls import every_route
from tests.clips import hearing_process, long_recording, recording
from tests.server_process import ServerProcess

OPEN = {"/", "/health", "/health/live", "/health/ready"}
"""Routes without a key: they reveal only that the service runs, and on what."""
CREATING = ("/jobs", "/api/v1/upload/file", "/api/v1/upload/url")
SIGNED = "/api/v1/webhooks/"
"""Prefix of routes for callers that authenticate with signatures."""


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("locked")
    with hearing_process(folder, API_KEYS="right", TMPDIR=str(temporary), MAX_FILE_SIZE="30000000") as running:
        yield running


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_except_health_requires_a_key(locked: ServerProcess) -> None:
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


@pytest.fixture(scope="module")
def document(locked: ServerProcess) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{locked.url}/openapi.json").json()
    return told


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow the references of a schema."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_docs_page_shows_a_consistent_document(locked: ServerProcess, document: dict[str, Any]) -> None:
    assert "swagger-ui" in httpx.get(f"{locked.url}/docs").text
    for found in set(re.findall(r"#/components/schemas/([\w.-]+)", str(document))):
        assert found in document["components"]["schemas"], found
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def unlimited(document: dict[str, Any], schema: Any, path: str) -> Iterator[str]:
    """Yield the lists in a schema that have no maximum length, except of files."""
    if isinstance(schema, list):
        for number, one in enumerate(schema):
            yield from unlimited(document, one, f"{path}.{number}")
    elif isinstance(schema, dict):
        schema = resolved(document, schema)
        if schema.get("type") == "array" and "maxItems" not in schema and "binary" not in str(schema["items"]):
            yield path
        for name, inside in schema.items():
            yield from unlimited(document, inside, f"{path}.{name}")


def test_every_list_in_a_request_has_a_limit(document: dict[str, Any]) -> None:
    found = [
        one
        for path, method, operation in operations(document)
        for one in unlimited(document, operation.get("requestBody", {}), f"{method} {path}")
    ]
    assert not found


def test_every_operation_has_tags_and_a_summary(document: dict[str, Any]) -> None:
    known = {tag["name"] for tag in document["tags"]}
    used: set[str] = set()
    for path, method, operation in operations(document):
        assert operation["tags"], (method, path)
        used |= set(operation["tags"])
        # A single word would be a summary derived from the function's name.
        assert " " in operation["summary"], (method, path)
        assert operation["description"], (method, path)
    assert used == known
    assert all(tag["description"] for tag in document["tags"])


def test_every_operation_describes_its_responses(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        good = [status for status in operation["responses"] if status.startswith("2") or status == "101"]
        assert good, (method, path)
        for status in good:
            response = operation["responses"][status]
            assert response["description"], (method, path)
            if status in ("101", "204"):
                assert "content" not in response
                continue
            for kind, media in response["content"].items():
                if kind == "text/event-stream":
                    assert set(media) == {"itemSchema", "example"}, (method, path)
                    continue
                schema = resolved(document, media["schema"])
                if kind.startswith("application/json"):
                    # The schema must describe the object.
                    assert "properties" in schema or "anyOf" in schema, (method, path, kind)
                else:
                    assert schema["type"] == "string", (method, path, kind)


def test_every_websocket_is_described_with_its_parameters(document: dict[str, Any]) -> None:
    sockets = {route.path for route in every_route() if route.method == "WEBSOCKET"}
    assert sockets - {"/twilio/media"} == {
        path for path, method, operation in operations(document) if "101" in operation["responses"]
    }
    live = {one["name"]: one["schema"] for one in document["paths"]["/ws"]["get"]["parameters"]}
    assert live["stream"]["enum"] == ["0", "1"]
    assert (live["silence_ms"]["type"], live["interruptible"]["type"]) == ("integer", "boolean")
    assert {"voice", "language", "system", "record", "rate", "resume"} <= set(live)


def test_plain_requests_to_websockets_are_told_to_upgrade(locked: ServerProcess, document: dict[str, Any]) -> None:
    seen = 0
    for path, method, operation in operations(document):
        if "101" not in operation["responses"]:
            assert "426" not in operation["responses"]
            continue
        answer = httpx.request(method, locked.url + path, headers={"Authorization": "Bearer right"})
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket"), path
        assert answer.headers["connection"].casefold() == "upgrade"
        head = httpx.head(locked.url + path, headers={"Authorization": "Bearer right"})
        assert (head.status_code, head.headers["upgrade"]) == (426, "websocket"), path
        described = operation["responses"]["426"]["content"]["application/json"]
        schema = {**described["schema"], "components": document["components"]}
        jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)
        assert answer.json()["error"]["code"] == "upgrade_required"
        seen += 1
    assert seen == 4


def test_errors_that_only_some_deployments_have_are_documented(locked: ServerProcess, document: dict[str, Any]) -> None:
    path, headers = "/v1/realtime/translations/client_secrets", {"Authorization": "Bearer right"}
    answer = httpx.post(locked.url + path, json={"session": {"model": "x"}}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "language_model_required")
    assert "language_model_required" in document["paths"][path]["post"]["responses"]["503"]["description"]
    assert "503" in document["paths"]["/v1/realtime/translations"]["get"]["responses"]


def test_states_are_enumerated(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["JobResponse"]["properties"]["status"]["enum"]) == {
        *(STATE_NAMES.get(status, status.value) for status in Status), "pending"
    }  # fmt: skip
    events = schemas["DeliveryResponse"]["properties"]["event"]["enum"]
    assert events
    assert all(event.startswith("transcription.") for event in events)
    assert "ok" in schemas["Lives"]["properties"]["status"]["enum"]
    speech = schemas["SpeechRequest"]["properties"]["response_format"]
    assert "mp3" in speech["enum"]


def test_every_json_body_has_a_valid_example(document: dict[str, Any]) -> None:
    seen = 0
    for _, _, operation in operations(document):
        bodies = [response.get("content", {}) for response in operation["responses"].values()]
        bodies.append(operation.get("requestBody", {}).get("content", {}))
        for content in bodies:
            media = content.get("application/json")
            if media is None:
                continue
            schema = {**media["schema"], "components": document["components"]}
            jsonschema.validate(media["example"], schema, cls=jsonschema.Draft202012Validator)
            seen += 1
    assert seen > 200


def test_every_operation_documents_its_errors_in_the_right_form(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        told = {status for status in operation["responses"] if status.startswith("4")}
        assert "429" in told, (method, path)
        if path not in OPEN and not path.startswith(SIGNED):
            assert told >= {"401", "403"}, (method, path)
        if method in ("post", "put") and not path.startswith(SIGNED):
            assert told >= {"400", "408", "413"}, (method, path)
        if "{" in path:
            assert "404" in told, (method, path)
        form = "OpenAIError" if path.startswith("/v1/") else "PlainError"
        for status in told - {"416"}:
            content = operation["responses"][status]["content"]
            assert list(content) == ["application/json"], (method, path, status)
            assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{form}"}, (path, status)
            fields = {"error"} if form == "OpenAIError" else {"error", "detail"}
            assert set(content["application/json"]["example"]) == fields
        # Invalid requests get 400. Only routes that use 422 in another meaning document it.
        assert "HTTPValidationError" not in str(operation)
        assert ("422" in told) == (method == "post" and path in CREATING), (method, path)


def test_forms_document_their_fields(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if method == "post" and "multipart/form-data" in content:
            form = content["multipart/form-data"]["schema"]
            assert form["required"], path
            assert "$ref" not in str(form), path
            if (example := content["multipart/form-data"].get("example")) is not None:
                jsonschema.validate(example, form, cls=jsonschema.Draft202012Validator)
    for path, file in (("/jobs", "files"), ("/api/v1/upload/file", "file")):
        operation = document["paths"][path]["post"]
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["required"] == [file], path
        assert {"language", "model_id", "session_id", "webhook_url"} <= set(form["properties"]), path
    for path in ("/jobs/{job_id}/download", "/api/v1/transcription/{job_id}/download"):
        told = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert {kind.split(";")[0] for kind in told} >= {"text/plain", "application/json", "text/vtt"}, path


def test_every_schema_is_valid(document: dict[str, Any]) -> None:
    """Check all schemas in the dialect of OpenAPI 3.1."""
    assert document["openapi"].startswith("3.1")

    def schemas(found: Any) -> Iterator[Any]:
        if isinstance(found, dict):
            if isinstance(found.get("schema"), dict):
                yield found["schema"]
            for inside in found.values():
                yield from schemas(inside)
        elif isinstance(found, list):
            for inside in found:
                yield from schemas(inside)

    seen = 0
    for schema in (*document["components"]["schemas"].values(), *schemas(document["paths"])):
        jsonschema.Draft202012Validator.check_schema(schema)
        seen += 1
    assert seen > 100


def test_uploads_leave_no_temporary_files(locked: ServerProcess, temporary: Path) -> None:
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
        assert not [path for path in temporary.rglob("*") if path.is_file()], "an upload in progress has no file name"
    time.sleep(0.5)
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert httpx.post(url, files={"file": recording(0)[0]}, data=data, headers=headers, timeout=60).status_code == 200
