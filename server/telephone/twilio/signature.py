"""`X-Twilio-Signature`: the proof that a request comes from Twilio, without which it is refused."""

import base64
import hmac
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pipeline.errors import ParleyError
from pipeline.settings import Settings

HEADER = "x-twilio-signature"
PORTS = {"http": 80, "https": 443}

Fields = Sequence[tuple[str, str]]
"""Fields of a form."""


def check_on(settings: Settings) -> None:
    """Raises ParleyError (not_found) without TWILIO_AUTH_TOKEN: then no body is read."""
    if not settings.twilio_auth_token:
        raise ParleyError("Telephone calls by Twilio are off; set TWILIO_AUTH_TOKEN.", code="not_found")


def check_signature(connection: HTTPConnection, settings: Settings, fields: Fields = ()) -> None:
    """Raises ParleyError: not_found without TWILIO_AUTH_TOKEN, forbidden_signature if the request is not Twilio's.

    fields: those of the request's body.
    """
    check_on(settings)
    sent = connection.headers.get(HEADER, "").encode("latin-1", "replace")
    target = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
    urls = _urls(public_url(connection, settings), target, websocket=connection.scope["type"] == "websocket")
    if not any(hmac.compare_digest(signature(settings.twilio_auth_token, url, fields), sent) for url in urls):
        raise ParleyError(
            "X-Twilio-Signature does not fit this request; check TWILIO_AUTH_TOKEN, and APP_URL behind a proxy.",
            code="forbidden_signature",
        )


def signature(token: str, url: str, fields: Fields) -> bytes:
    """Return Twilio's signature: the HMAC-SHA1 of the URL and the form's fields, sorted by name."""
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode("utf-8", "replace"), "sha1"))


def public_url(connection: HTTPConnection, settings: Settings) -> str:
    """Return the service's URL as Twilio knows it, without a path: APP_URL, or the one of this request."""
    if settings.app_url:
        return settings.app_url.rstrip("/")
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    return f"{scheme}://{connection.headers.get('host', '')}"


def _urls(base: str, target: str, *, websocket: bool) -> Iterator[str]:
    """Yield the URLs that Twilio may have signed: with and without the port, and for a WebSocket by its own scheme and
    with a slash at the end."""
    try:
        parts = urlsplit(base)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:  # not a URL
        return
    host = parts.netloc.removesuffix(f":{port}")
    for netloc in (host, f"{host}:{port}"):
        url = parts._replace(netloc=netloc).geturl() + target
        yield url
        if websocket:
            yield from (url + "/", websocket_url(url), websocket_url(url) + "/")


def websocket_url(url: str) -> str:
    """Return an http or https URL with the scheme of its WebSockets."""
    return "ws" + url.removeprefix("http")
