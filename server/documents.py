"""What the OpenAPI document says about errors and forms."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from pipeline.errors import BadInput, EngineError, Overloaded, ParleyError
from pipeline.storing import storage_full
from server.access.rates import TooOften
from server.access.rights import Open, rule_for
from server.errors import OPENAI, BadField, body_of

JOBS = ("/jobs", "/api/v1/upload/", "/api/v1/transcription", "/api/v1/webhooks/")
CREATING = ("/jobs", "/api/v1/upload/file", "/api/v1/upload/url")
"""Where a POST makes jobs."""

_MEANING = {
    400: "The request cannot be used; the message says why.",
    401: "A key is needed (`Authorization: Bearer KEY`).",
    403: "The key has not the right, or pages of this origin may not connect.",
    404: "There is no such thing.",
    408: "The request came too slowly.",
    409: "It is there already, or is in a state in which this cannot be done.",
    413: "The upload is larger, or the recording longer, than allowed.",
    415: "The body is compressed.",
    422: "The request cannot be used; the message says why.",
    429: "Too many requests; `Retry-After` says when to come back.",
    502: "An engine failed.",
    503: "Too much is going on, or the database cannot be used; `Retry-After` says when to come back.",
    504: "An engine took too long.",
    507: "The disk is full; the message names the setting to look at.",
}
EXAMPLES: dict[int, ParleyError] = {
    400: BadField("language", "'??' is no language code; send one like en or pt.", code="unsupported_language"),
    401: ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized"),
    403: ParleyError("This key has not the right transcribe.", code="forbidden"),
    404: BadInput("Not Found", code="not_found"),
    408: BadInput("The body came too slowly.", code="slow_body"),
    409: ParleyError("The job is completed already.", code="job_finished"),
    413: BadInput("The file is larger than 524288000 bytes (MAX_FILE_SIZE).", code="file_too_large"),
    415: BadInput("The body is compressed (Content-Encoding: gzip); send it as it is.", code="unsupported_encoding"),
    422: ParleyError(
        "This Idempotency-Key came with another request before; send a new one.", code="idempotency_key_reused"
    ),
    429: TooOften("Too many requests; try again in 12 s.", retry_after_s=12.0),
    502: EngineError("The recogniser failed.", code="stt_failed"),
    503: Overloaded("2 recordings are being transcribed; try again soon.", retry_after_s=5.0),
    504: ParleyError("An engine took too long.", code="timeout"),
    507: storage_full("UPLOAD_DIR"),
}
"""What errors look like, by status; a job or a model that is not there has a code of its own."""


FRAMEWORK = ("HTTPValidationError", "ValidationError")
"""What FastAPI would answer."""
INVALID = "#/components/schemas/HTTPValidationError"
ERROR_MODELS = ("/OpenAIError", "/PlainError")
TAGS = {
    "health": "Whether the service lives, and how it does.",
    "access": "Keys.",
    "transcription": "Recordings into text, while the client waits.",
    "jobs": "Recordings into text, as jobs that survive restarts.",
    "transcriptions": "The same jobs, as the Echo API names them.",
    "webhooks": "For workers elsewhere.",
    "speech": "Text into speech.",
    "voices": "Who speaks.",
    "models": "What hears, thinks and speaks.",
    "recordings": "Turns that RECORD keeps.",
}
"""What routes are for, in the order in which `/docs` shows them."""


class Answer(BaseModel):
    """What a route answers, as the document has it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def like(*examples: dict[str, Any]) -> ConfigDict:
    """For `model_config`: what it looks like."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


def answers(model: type[BaseModel], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """For `responses=`, with `response_model=None`: what is answered is described, and not checked each time."""
    return {status: {"model": model, "description": (model.__doc__ or "").strip().split("\n\n")[0]}}


def event_stream(example: str, *fields: str) -> dict[str, Any]:
    """Server-Sent Events, as OpenAPI 3.2 describes them, and FastAPI already. fields: that each has beside `data`."""
    text = {"type": "string"}
    item = {"type": "object", "properties": dict.fromkeys(("data", *fields), text), "required": ["data", *fields]}
    return {"itemSchema": item, "example": example}


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """The form of all errors below /v1."""

    error: OpenAIErrorDetail


class ErrorDetail(BaseModel):
    code: str
    message: str
    retry_after_s: float | None = None


class PlainError(BaseModel):
    """The form of errors elsewhere; `detail` is the message once more."""

    detail: str
    error: ErrorDetail


def errors(*statuses: int, form: str = OPENAI) -> dict[int | str, dict[str, Any]]:
    """For `responses=`. form: OPENAI, or anything else for the plain form."""
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
    model: type[BaseModel], *files: str, several: bool = False, example: dict[str, Any] | None = None
) -> dict[str, Any]:
    """For `openapi_extra=`: a multipart form with the fields of `model` and these files, the first one required.
    several: files of a name, one or more."""
    schema = model.model_json_schema(by_alias=True)
    schema = _inlined(schema, schema.pop("$defs", {}))
    binary: dict[str, Any] = {"type": "string", "format": "binary"}
    if several:
        binary = {"type": "array", "items": binary, "minItems": 1}
    schema["properties"] = {**dict.fromkeys(files, binary), **schema.get("properties", {})}
    schema["required"] = [*files[:1], *schema.get("required", [])]
    content: dict[str, Any] = {"schema": schema}
    if example:
        sent = ["talk.mp3"] if several else "talk.mp3"
        content["example"] = {**dict.fromkeys(files[:1], sent), **example}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """With its definitions in place: a form's schema stands outside the components that they would be found in."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items() if name != "discriminator"}


def describe(app: FastAPI) -> None:
    """The OpenAPI document with what is true of all routes: which of them need a key, and that requests that do not
    validate are 400 here, not the 422 of FastAPI."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["tags"] = [{"name": name, "description": told} for name, told in TAGS.items()]
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schemas = document["components"]["schemas"]
            for model in (OpenAIError, PlainError):
                told = model.model_json_schema(ref_template="#/components/schemas/{model}")
                for name, schema in {**told.pop("$defs", {}), model.__name__: told}.items():
                    schemas.setdefault(name, schema)
            for answer in _all(Answer):
                if answer.__name__ in schemas and (shown := _examples(answer)):
                    schemas[answer.__name__]["examples"] = shown
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
                    _add_examples(path, operation, schemas)
            for name in FRAMEWORK:
                schemas.pop(name, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change it

    @cache
    def rendered() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    @app.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        """Rendered once: it is large, and open to callers without a key."""
        return Response(rendered(), media_type="application/json")


def _all(model: type[Answer]) -> Iterator[type[Answer]]:
    for one in model.__subclasses__():
        yield one
        yield from _all(one)


def _examples(model: type[Answer]) -> list[Any]:
    """As they were written: FastAPI leaves out of them whatever is null."""
    extra = model.model_config.get("json_schema_extra")
    return list(extra["examples"]) if isinstance(extra, dict) else []  # type: ignore[arg-type]


def _add_common(responses: dict[str, Any], path: str, method: str) -> None:
    """The errors that any route of this kind may answer: those of the door, and of bodies and ids."""
    statuses = [429]
    if rule_for(path, method.upper()).needed is not Open.ALL:
        statuses += [401, 403, 503]
    if method in ("post", "put", "patch"):
        statuses += [400, 408, 413, 415]
    if method in ("post", "put", "delete"):
        statuses += [507]
    if "{" in path:
        statuses += [400, 404]
    if path.startswith(JOBS) and "{" in path:
        statuses += [409]
    if path in CREATING and method == "post":
        statuses += [404, 422]  # 404: the model that is asked for
    for status in statuses:
        _add(responses, path, status)


def _add(responses: dict[str, Any], path: str, status: int) -> None:
    """An error in the form of its API, unless the route has said something of it itself."""
    model = OpenAIError if path.startswith(f"{OPENAI}/") else PlainError
    described = errors(status, form=OPENAI if model is OpenAIError else "plain")[status]
    described.pop("model")
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    responses.setdefault(str(status), {**described, "content": content})


def _add_examples(path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """What each JSON body looks like: of an error in the form of its API, of an answer as its model says."""
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
    """The first one that a schema has, itself or where it leads to; None: it has none."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    return _example(schema["anyOf"][0], schemas) if "anyOf" in schema else None
