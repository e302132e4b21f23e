"""What the OpenAPI document says about errors and forms."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from server.access.rights import Open, rule_for
from server.errors import OPENAI

JOBS = ("/jobs", "/api/v1/upload/", "/api/v1/transcription", "/api/v1/webhooks/")

_MEANING = {
    400: "The request cannot be used; the message says why.",
    401: "A key is needed (`Authorization: Bearer KEY`).",
    403: "The key has not the right, or pages of this origin may not connect.",
    404: "There is no such thing.",
    408: "The request came too slowly.",
    409: "It is there already, or is in a state in which this cannot be done.",
    413: "The upload is larger, or the recording longer, than allowed.",
    422: "The request cannot be used; the message says why.",
    429: "Too many requests; `Retry-After` says when to come back.",
    502: "An engine failed.",
    503: "Too much is going on; `Retry-After` says when to come back.",
    504: "An engine took too long.",
}


INVALID = "#/components/schemas/HTTPValidationError"


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
        content["example"] = example
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
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schemas = document["components"]["schemas"]
            for model in (OpenAIError, PlainError):
                told = model.model_json_schema(ref_template="#/components/schemas/{model}")
                for name, schema in {**told.pop("$defs", {}), model.__name__: told}.items():
                    schemas.setdefault(name, schema)
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if rule_for(path, method.upper()).needed not in (Open.ALL, Open.SIGNED):
                        operation["security"] = [{"key": []}]
                    responses = operation.setdefault("responses", {})
                    _add_common(responses, path, method)
                    content = responses.get("422", {}).get("content", {}).get("application/json", {})
                    if content.get("schema", {}).get("$ref") == INVALID:
                        del responses["422"]
                        responses.setdefault("400", {"description": _MEANING[400]})
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change it


def _add_common(responses: dict[str, Any], path: str, method: str) -> None:
    """The errors that any route of this kind may answer: those of the door, and of bodies and ids."""
    statuses: list[int] = []
    needed = rule_for(path, method.upper()).needed
    if needed is not Open.ALL:
        statuses += [401, 403, 429, 503]
    if method in ("post", "put"):
        statuses += [400, 408, 413]
    if "{" in path:
        statuses += [400, 404]
    if path.startswith(JOBS):
        statuses += [404, 409, 422]  # 404: the model that is asked for, too
    model = OpenAIError if path.startswith(f"{OPENAI}/") else PlainError
    for status in statuses:
        described = errors(status, form=OPENAI if model is OpenAIError else "plain")[status]
        described.pop("model")
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
        responses.setdefault(str(status), {**described, "content": content})
