"""Errors in the form of each protocol."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection

from jobs.database import SETTING as DATABASE
from jobs.errors import VersionConflict
from pipeline.errors import BadInput, EngineError, EngineUnavailable, Overloaded, ParleyError, StorageError
from pipeline.support.encodable import encodable_object
from pipeline.support.json_types import JsonObject
from pipeline.support.storage_errors import FULL, full_place, storage_full
from server.parameters import from_json
from server.state import has_started, state_of

log = logging.getLogger(__name__)

OPENAI = "/v1"
"""Path prefix of the endpoints whose errors have OpenAI's form."""
STATUS: Mapping[str, int] = {
    "unauthorized": 401,
    "forbidden": 403,
    "forbidden_origin": 403,
    "forbidden_host": 403,
    "forbidden_signature": 403,
    "not_found": 404,
    "job_not_found": 404,
    "job_finished": 409,
    "no_result": 409,
    "version_conflict": 409,
    "version_not_found": 404,
    "voiceprint_not_found": 404,
    "idempotency_key_reused": 422,
    "model_not_found": 404,
    "audio_not_found": 404,
    "voice_exists": 409,
    "voice_not_found": 404,
    "voice_protected": 409,
    "consent_not_found": 404,
    "consent_in_use": 409,
    "file_too_large": 413,
    "audio_too_long": 413,
    "unsupported_encoding": 415,
    "slow_body": 408,
    "rate_limited": 429,
    "too_many_sessions": 429,
    "too_many_requests": 429,
    "client_gone": 499,
    "timeout": 504,
    "upgrade_required": 426,
    "language_model_required": 503,
    "storage_full": 507,
    "storage_failed": 503,
}
"""Error code → HTTP status, where it does not follow from the class of the error."""
SAME_KIND = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "slow_body",
    413: "file_too_large",
    503: "overloaded",
}
"""Status → error code, for errors raised by the framework."""
OPENAI_CODES = {"unauthorized": "invalid_api_key"}
"""Codes that OpenAI's clients know by another name; an error can set its own (`openai_code`)."""
PARAMS = {"unknown_voice": "voice", "unsupported_language": "language"}
"""Error code → request field that causes it, at all endpoints."""
SOURCES = ("body", "query", "path", "header")
"""FastAPI's names for the source of a field."""


MAX_PATH_CHARS = 200
"""Characters of a path that an error message shows."""
STORAGE_RETRY_S = "30"
"""Seconds to wait after a full disk or an unavailable database."""


class BadField(BadInput):
    """A field of a request cannot be used; `param` is its name."""

    code = "bad_parameter"

    def __init__(self, param: str, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, param=param)


class FieldError(TypedDict):
    """The part of pydantic's `ErrorDetails` that is reported."""

    type: str
    loc: tuple[int | str, ...]
    msg: str


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return pydantic's errors without their values and contexts, which can be large."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"type": one["type"], "loc": one["loc"], "msg": one["msg"]} for one in found]


def bad_field(found: Sequence[FieldError], body: object) -> BadField:
    """Convert the first of pydantic's errors in a body (`loc`, `type`, `msg`).

    For a field with several possible types, pydantic reports an error for each type and adds the type's name to `loc`.
    The type that was meant is the one with the longest `loc`, and not one that the value does not have: report its
    error. `param` is the field.
    """
    first = found[0]
    field, within = _place(first, body)
    if len(field) < len(first["loc"]):
        rivals = [one for one in found if _place(one, body)[0] == field]
        first = max(rivals, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))
        within = _place(first, body)[1]
    name = ".".join(field) or "body"
    return BadField(name, f"{'.'.join([name, *within])}: {first['msg'].removeprefix('Value error, ')}")


def _place(error: FieldError, body: object) -> tuple[list[str], list[str]]:
    """Return the path of the field with the error, and the path inside it, without the names of types: clients do not
    send those."""
    field: list[str] = []
    within: list[str] = []
    value, last = body, len(error["loc"]) - 1
    for number, part in enumerate(error["loc"]):
        inside = from_json(value)
        if isinstance(inside, dict):
            sent = number == 0 or part in inside or (number == last and error["type"] == "missing")
        else:  # a scalar contains nothing; an unknown value can contain anything
            sent = number == 0 or inside is None or (isinstance(inside, list) and isinstance(part, int))
        if not sent:
            within = within or [""]
            continue
        (within if within else field).append(str(part))
        if isinstance(inside, dict):
            value = inside.get(part)
        elif isinstance(inside, list) and isinstance(part, int) and part < len(inside):
            value = inside[part]
        else:
            value = None
    return field, within[1:]


def error_fields(error: ParleyError) -> JsonObject:
    """Return `{"code", "message"}`, with `retry_after_s` after an overload, and `version` if a transcript changed."""
    fields: JsonObject = {"code": error.code, "message": error.full_message}
    if isinstance(error, Overloaded):
        fields["retry_after_s"] = error.retry_after_s
    if isinstance(error, VersionConflict):
        fields["version"] = error.version
    return fields


def as_json(error: ParleyError) -> JsonObject:
    """Return `{"error": {"code", "message"}}`: the form of /ws, and of every API without its own form."""
    return {"error": error_fields(error)}


def as_openai(error: ParleyError) -> JsonObject:
    """`{"error": {"message", "type", "param", "code"}}`."""
    status = status_of(error)
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    param = getattr(error, "param", None) or PARAMS.get(error.code)
    code = getattr(error, "openai_code", None) or OPENAI_CODES.get(error.code, error.code)
    return {"error": {"message": error.full_message, "type": kind, "param": param, "code": code}}


def status_of(error: ParleyError) -> int:
    """Return the HTTP status of an error."""
    if error.code in STATUS:
        return STATUS[error.code]
    if isinstance(error, Overloaded):
        return 503
    if isinstance(error, BadInput | EngineUnavailable) or error.code == "unsupported_language":
        return 400
    return 502 if isinstance(error, EngineError) else 500


TWIML = "text/xml"
"""The media type of TwiML, the XML that says what Twilio does with a call."""
TWILIO_VOICE = "/twilio/voice"
"""The path at which Twilio asks for it."""
BUSY = '<?xml version="1.0" encoding="UTF-8"?><Response><Reject reason="busy"/></Response>'
"""Rejects a call; the caller hears the busy tone."""


def error_response(request: HTTPConnection, error: ParleyError) -> Response:
    """Return an error as the response to this request or handshake."""
    headers = {}
    if isinstance(error, Overloaded) and request.url.path == TWILIO_VOICE:
        return Response(BUSY, media_type=TWIML)
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, StorageError):
        headers["Retry-After"] = STORAGE_RETRY_S
    if error.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    if error.code == "upgrade_required":
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    if error.code == "forbidden":
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{getattr(error, "right", "")}"'
    return JSONResponse(encodable_object(body_of(request.url.path, error)), status_of(error), headers)


def _detail(request: Request, error: HTTPException) -> str:
    """Return the message of an error of the framework; for a path or a method without a route, one that names both."""
    if error.detail != HTTPStatus(error.status_code).phrase:
        return str(error.detail)
    asked = f"{request.method} {request.url.path[:MAX_PATH_CHARS]}"
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return f"There is no {asked}; /docs lists the endpoints of this service."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"There is no {asked}; this path takes {(error.headers or {}).get('Allow', 'other methods')}."
    return error.detail


def body_of(path: str, error: ParleyError) -> JsonObject:
    """Return an error in the form of the API that the path belongs to."""
    if path.startswith(f"{OPENAI}/"):
        return as_openai(error)
    # Clients of FastAPI services read `detail`.
    return {"detail": error.full_message, **as_json(error)}


def add_error_handlers(app: FastAPI) -> None:
    """Convert every error of an HTTP request to the form of its path."""

    async def parley(request: Request, error: Exception) -> Response:
        assert isinstance(error, ParleyError)  # noqa: S101  # registered for this class
        if status_of(error) >= 500 and getattr(error, "setting", None) != DATABASE:  # the database logs its own errors
            log.warning("%s %s: %s: %s", request.method, request.url.path, error.code, error.message)
        return error_response(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class
        first = error.errors()[0]
        if first["type"] == "json_invalid":  # its `loc` is an offset in the body
            return error_response(request, BadField("body", "The body is not valid JSON."))
        found: list[FieldError] = [
            {"type": one["type"], "loc": one["loc"][one["loc"][0] in SOURCES :], "msg": one["msg"]}
            for one in error.errors()
        ]
        return error_response(request, bad_field(found, error.body if first["loc"][0] == "body" else None))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class
        told = BadInput(_detail(request, error), code=SAME_KIND.get(error.status_code, "bad_request"))
        response = error_response(request, told)
        response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    async def disk(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)  # noqa: S101  # registered for this class
        if error.errno not in FULL:
            raise error
        if not has_started(request):
            raise error
        found = storage_full(full_place(state_of(request).assistant.settings))
        log.warning("%s %s: %s: %s", request.method, request.url.path, found.code, found.message)
        return error_response(request, found)

    async def gone(request: Request, error: Exception) -> Response:
        return error_response(request, ParleyError("The client disconnected.", code="client_gone"))

    async def unexpected(request: Request, error: Exception) -> Response:
        return error_response(request, ParleyError("Something went wrong inside the service."))

    app.add_exception_handler(ParleyError, parley)
    app.add_exception_handler(OSError, disk)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)  # during the upload of its body: not worth a log line
    app.add_exception_handler(Exception, unexpected)
