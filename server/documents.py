"""What the OpenAPI document says about errors and forms."""

from typing import Any

from pydantic import BaseModel

from server.errors import OPENAI

_MEANING = {
    400: "The request cannot be used; the message says why.",
    401: "A key is needed (`Authorization: Bearer KEY`).",
    403: "Pages of this origin may not connect.",
    404: "There is no such thing.",
    409: "It is there already.",
    413: "The upload is larger, or the recording longer, than allowed.",
    422: "The request cannot be used; the message says why.",
    502: "An engine failed.",
    503: "Too much is going on; `Retry-After` says when to come back.",
    504: "An engine took too long.",
}


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


def form_body(model: type[BaseModel], *files: str, example: dict[str, Any] | None = None) -> dict[str, Any]:
    """For `openapi_extra=`: a multipart form with the fields of `model` and these files, the first one required."""
    schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    binary = {"type": "string", "format": "binary"}
    schema["properties"] = {**dict.fromkeys(files, binary), **schema.get("properties", {})}
    schema["required"] = [*files[:1], *schema.get("required", [])]
    content: dict[str, Any] = {"schema": schema}
    if example:
        content["example"] = example
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}
