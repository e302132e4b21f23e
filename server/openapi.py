"""Errors, forms and examples in the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, cast

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline.errors import BadInput, EngineError, Overloaded, ParleyError
from pipeline.support.storage_errors import storage_full
from server.access.rates import TooOften
from server.access.rules import Open, rule_for
from server.errors import OPENAI, BadField, body_of
from server.http.upgrade import UpgradeRequired
from server.openapi_sockets import SOCKETS, paths

JOBS = ("/jobs", "/api/v1/upload/", "/api/v1/transcription", "/api/v1/webhooks/")
CREATING = ("/jobs", "/api/v1/upload/file", "/api/v1/upload/url")
"""Paths on which a POST creates jobs."""

_MEANING = {
    400: "The request is invalid; the message says why.",
    401: "A key is required (`Authorization: Bearer KEY`).",
    403: "The key lacks the permission, or pages of this origin are not allowed.",
    404: "Not found.",
    408: "The request arrived too slowly.",
    409: "It already exists, or its state does not allow this.",
    413: "The upload or the recording exceeds a limit.",
    415: "The body is compressed.",
    422: "The request is invalid; the message says why.",
    426: "The request does not ask for a WebSocket (`Upgrade: websocket`).",
    429: "Too many requests; retry after `Retry-After` seconds.",
    502: "An engine failed.",
    503: "The service is overloaded or the database is unavailable: retry after `Retry-After` seconds. Without that "
    "header: the request needs a language model, and the service has none (`language_model_required`).",
    504: "An engine took too long.",
    507: "The disk is full; the message names the setting to check.",
}
EXAMPLES: dict[int, ParleyError] = {
    400: BadField("language", "'??' is not a language code; send one like en or pt.", code="unsupported_language"),
    401: ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized"),
    403: ParleyError("This key lacks the 'transcribe' permission.", code="forbidden"),
    404: BadInput("Not Found", code="not_found"),
    408: BadInput("The body arrived too slowly.", code="slow_body"),
    409: ParleyError("The job is already completed.", code="job_finished"),
    413: BadInput("The file is larger than 524288000 bytes (MAX_FILE_SIZE).", code="file_too_large"),
    415: BadInput(
        "The body is compressed (Content-Encoding: gzip); send it uncompressed.", code="unsupported_encoding"
    ),
    422: ParleyError(
        "This Idempotency-Key was used for another request; send a new one.", code="idempotency_key_reused"
    ),
    426: UpgradeRequired(),
    429: TooOften("Too many requests; retry in 12 s.", retry_after_s=12.0),
    502: EngineError("The recogniser failed.", code="stt_failed"),
    503: Overloaded("2 recordings are being transcribed; retry soon.", retry_after_s=5.0),
    504: ParleyError("An engine took too long.", code="timeout"),
    507: storage_full("UPLOAD_DIR"),
}
"""Example error for each status. A missing job or model has a more specific code than `not_found`."""


FRAMEWORK = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI's own validation errors, which this service does not send."""
INVALID = "#/components/schemas/HTTPValidationError"
ERROR_MODELS = ("/OpenAIError", "/PlainError")
TAGS = {
    "conversations": "Conversations over WebSockets, each a GET that is answered with 101.",
    "realtime": "Conversations over WebRTC, in OpenAI's form.",
    "health": "Liveness, readiness and state of the service.",
    "access": "Keys and tokens.",
    "transcription": "Transcribe recordings while the client waits.",
    "jobs": "Transcribe recordings as jobs that survive restarts.",
    "library": "Search in transcripts, and change several at once.",
    "insights": "What the language model writes about transcripts.",
    "transcriptions": "The same jobs, with the names of the Echo API.",
    "documents": "Edit transcripts, with versions, speakers' voices and outlines of recordings.",
    "webhooks": "Callbacks of remote job workers.",
    "chat": "Replies of the language model to a conversation, in text and speech.",
    "speech": "Synthesize speech.",
    "voices": "Voices for speech.",
    "models": "Models for recognition, replies and speech.",
    "recordings": "Conversations kept by the setting RECORD.",
}
"""Descriptions of the groups of routes, in the order in which `/docs` shows them."""


class ResponseModel(BaseModel):
    """Base of the models of JSON responses."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def one_of(*values: str) -> Any:
    """Return the possible values of a text, for the document: `status: Annotated[str, one_of("queued", …)]`."""
    return Field(json_schema_extra={"enum": [*values]})


def like(*examples: Mapping[str, object]) -> ConfigDict:
    """Return a `model_config` with examples of the model."""
    return ConfigDict(json_schema_extra={"examples": cast("list[JsonValue]", list(examples))})


def event_stream(example: str, *fields: str) -> dict[str, object]:
    """Return the schema of Server-Sent Events, as in OpenAPI 3.2. fields: fields of each event besides `data`."""
    text = {"type": "string"}
    item = {"type": "object", "properties": dict.fromkeys(("data", *fields), text), "required": ["data", *fields]}
    return {"itemSchema": item, "example": example}


class OpenAIErrorDetail(BaseModel):
    message: str
    type: Annotated[str, one_of("invalid_request_error", "rate_limit_error", "server_error")]
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error of a path below /v1."""

    error: OpenAIErrorDetail


class ErrorDetail(BaseModel):
    code: str
    message: str
    retry_after_s: float | None = None
    version: int | None = None


class PlainError(BaseModel):
    """An error of any other path; `detail` repeats the message."""

    detail: str
    error: ErrorDetail


def errors(*statuses: int, form: str = OPENAI) -> dict[int | str, dict[str, object]]:
    """Return error descriptions for `responses=`. form: OPENAI, or any other text for the plain form."""
    model = OpenAIError if form == OPENAI else PlainError
    headers = {
        401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
        429: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
        503: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
        507: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    }
    return {
        status: {
            "model": model,
            "description": _MEANING[status],
            **({"headers": headers[status]} if status in headers else {}),
        }
        for status in statuses
    }


def form_body(
    model: type[BaseModel], *files: str, several: bool = False, example: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return a multipart form for `openapi_extra=`, with the fields of `model` and these files; the first file is
    required. several: each name can have one or more files."""
    schema = model.model_json_schema(by_alias=True)
    schema = _inlined(schema, schema.pop("$defs", {}))
    binary: dict[str, object] = {"type": "string", "format": "binary"}
    if several:
        binary = {"type": "array", "items": binary, "minItems": 1}
    schema["properties"] = {**dict.fromkeys(files, binary), **schema.get("properties", {})}
    schema["required"] = [*files[:1], *schema.get("required", [])]
    content: dict[str, object] = {"schema": schema}
    if example:
        sent = ["talk.mp3"] if several else "talk.mp3"
        content["example"] = {**dict.fromkeys(files[:1], sent), **example}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def json_body(model: type[BaseModel]) -> dict[str, object]:
    """Return a JSON body for `openapi_extra=`, for a route that reads it itself."""
    schema = model.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace references by their definitions: a form's schema cannot refer to the document's components."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items() if name != "discriminator"}


def describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: mark routes that need a key, and report invalid requests as 400 instead of
    FastAPI's 422."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["paths"].update(paths())
            document["tags"] = [{"name": name, "description": told} for name, told in TAGS.items()]
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schemas = document["components"]["schemas"]
            for model in (OpenAIError, PlainError):
                told = model.model_json_schema(ref_template="#/components/schemas/{model}")
                for name, schema in {**told.pop("$defs", {}), model.__name__: told}.items():
                    schemas.setdefault(name, schema)
            for own in _all(ResponseModel):
                if own.__name__ in schemas and (shown := _examples(own)):
                    schemas[own.__name__]["examples"] = shown
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if rule_for(path, method.upper()).needed not in (Open.ALL, Open.SIGNED):
                        operation["security"] = [{"key": []}]
                    responses = operation.setdefault("responses", {})
                    told = responses.get("422", {}).get("content", {}).get("application/json", {})
                    if told.get("schema", {}).get("$ref") == INVALID:
                        del responses["422"]
                        _add(responses, path, 400)
                    _add_common(responses, path, method)
                    for status in (*SOCKETS[path].refusals, 426) if path in SOCKETS else ():
                        _add(responses, path, status)
                    _add_examples(path, operation, schemas)
                    _add_descriptions(responses, schemas)
            for name in FRAMEWORK:
                schemas.pop(name, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change it

    @cache
    def rendered() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    @app.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        """Return the document. It is rendered once, because it is large and callers need no key for it."""
        return Response(rendered(), media_type="application/json")


def _all(model: type[ResponseModel]) -> Iterator[type[ResponseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _all(one)


def _examples(model: type[ResponseModel]) -> list[object]:
    """Return the examples as written; FastAPI would omit their null values."""
    extra = model.model_config.get("json_schema_extra")
    return list(extra["examples"]) if isinstance(extra, dict) else []  # type: ignore[arg-type]


def _add_common(responses: dict[str, object], path: str, method: str) -> None:
    """Add the errors that any route of this kind can return: those of access control, of bodies and of ids."""
    statuses = [429]
    if rule_for(path, method.upper()).needed is not Open.ALL:
        statuses += [401, 403, 503]
    if method in ("post", "put", "patch"):
        statuses += [400, 408, 413, 415]
    if method in ("post", "put", "patch", "delete"):
        statuses += [507]
    if "{" in path:
        statuses += [400, 404]
    if path.startswith(JOBS) and "{" in path:
        statuses += [409]
    if path in CREATING and method == "post":
        statuses += [404, 422]  # 404: an unknown model
    for status in statuses:
        _add(responses, path, status)


def _add(responses: dict[str, object], path: str, status: int) -> None:
    """Describe an error in the form of its API, unless the route already describes it."""
    model = OpenAIError if path.startswith(f"{OPENAI}/") else PlainError
    described = errors(status, form=OPENAI if model is OpenAIError else "plain")[status]
    described.pop("model")
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    responses.setdefault(str(status), {**described, "content": content})


def _add_descriptions(responses: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Describe each response that FastAPI derived from a model by the model's docstring."""
    for response in responses.values():
        reference = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
        if response["description"] == "Successful Response" and reference:
            response["description"] = schemas[reference.rpartition("/")[2]]["description"].split("\n\n")[0]


def _add_examples(path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add an example of each JSON body: errors in the form of their API, other bodies from their model."""
    for status, response in operation["responses"].items():
        media = response.get("content", {}).get("application/json")
        if media is None or "example" in media:
            continue
        if media.get("schema", {}).get("$ref", "").endswith(ERROR_MODELS):
            media["example"] = body_of(path, EXAMPLES[int(status)])
        elif (like_this := _example(media.get("schema", {}), schemas)) is not None:
            media["example"] = like_this
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and "example" not in body and (like_this := _example(body["schema"], schemas)) is not None:
        body["example"] = like_this


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return the first example of a schema or of the schemas it refers to; None if there is none."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    return _example(schema["anyOf"][0], schemas) if "anyOf" in schema else None
